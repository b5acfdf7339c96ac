"""Go templates, one for each thing the language has, and for what it refuses."""

SNIPPETS = [
    # Text, trimming, comments.
    "plain", "", "a {{- .Name -}} b", "a{{ .Name }}b", "  {{- /* x */ -}}  b", "{{/* a\n b */}}c", "{{- 3 }}", "{{-3}}",
    "{{ 3 -}} x", "{{3-}}", "a\n\t {{-\n.Name\n-}}\r\n b", "{{\"}}\"}}", "{{ /* x */ }}", "{{/* x }}", "{{/* x */ .Name}}",
    "{{", "{{ .Name", "}}", "{{}}", "{{ }}", "{ { .Name } }", "{{{ .Name }}}",
    # Literals.
    "{{ 1 }} {{ -1 }} {{ +1 }} {{ 1.5 }} {{ .5 }} {{ 1e3 }} {{ 1e-7 }} {{ 1E6 }} {{ 100000.0 }} {{ 1e21 }} {{ 12345678.9 }}",
    "{{ 0x1F }} {{ 0b11 }} {{ 0o17 }} {{ 017 }} {{ 1_000 }} {{ 0x_f }} {{ 'a' }} {{ '\\n' }} {{ '\\x41' }} {{ '\\'' }} {{ 'é' }}",
    "{{ 0x1p4 }}", "{{ 1__0 }}", "{{ 08 }}", "{{ 1e999 }}", "{{ 9223372036854775807 }}", "{{ 9223372036854775808 }}",
    "{{ 'ab' }}", "{{ '' }}", "{{ '\\q' }}", "{{ 1i }}", "{{ 1a }}", "{{ 3.Foo }}", "{{ true }} {{ false }}", "{{ nil }}",
    "{{ \"a\\n\\t\\\"\\u00e9\\x41\\101\\U0001F999\" }}", "{{ `raw \\n \"x\"` }}", "{{ \"\\q\" }}", "{{ \"a", "{{ \"a\nb\" }}", "{{ `a",
    "{{ \"\\ud800\" }}", "{{ \"\\'\" }}",
    # Fields and variables.
    "{{ .Name }}{{ .Map.a }}{{ .Map.c.deep.er }}", "{{ .Missing }}", "{{ .Map.zz }}", "{{ .Missing.x }}", "{{ .Map.n.x }}",
    "{{ .Name.x }}", "{{ .List.x }}", "{{ (index .People 0).Name }}", "{{ (.Map).a }}", "{{ (.Missing).x }}", "{{ $.Name }}", "{{ $ | len }}",
    "{{ $x := .Count }}{{ $x }}{{ $x = 5 }}{{ $x }}", "{{ $x }}", "{{ $x = 1 }}", "{{ $x := .Map }}{{ $x.a }}", "{{ $x := .Null }}{{ $x.y }}",
    "{{ if true }}{{ $y := 1 }}{{ end }}{{ $y }}", "{{ $y := 1 }}{{ if true }}{{ $y := 2 }}{{ $y }}{{ end }}{{ $y }}",
    "{{ $y := 1 }}{{ if true }}{{ $y = 2 }}{{ end }}{{ $y }}", "{{ with $y := .Name }}{{ $y }}{{ . }}{{ end }}", "{{ . .Name }}", "{{ ..Name }}",
    "{{ .Name.}}", "{{ \"x\".y }}", "{{ true.x }}", "{{ .Name .Count }}", "{{ $x, $y := 1 }}", "{{ .Näme }}", "{{ .a-b }}", "{{ $x := $x }}",
    "{{ (1) }} {{ ((.Name)) }}", "{{ (1 }}", "{{ 1) }}", "{{ 3 4 }}", "{{ nil.x }}", "{{ (nil) }}", "{{ .Name, }}", "{{ .Name ; }}",
    # Pipelines.
    "{{ .Name | len }}", "{{ .Name | printf \"%s-%d\" \"x\" | len }}", "{{ 1 | print 2 }}", "{{ .Name | 3 }}", "{{ .Name | .x }}", "{{ .Name | }}",
    "{{ | len }}", "{{ .Name | nope }}", "{{ nope }}", "{{ len }}", "{{ len 1 2 }}", "{{ .Name | len | print }}", "{{ 3 | . }}", "{{ .Name | (print) }}",
    # Conditions.
    "{{ if .Yes }}a{{ else }}b{{ end }}", "{{ if .No }}a{{ else if .Zero }}b{{ else if .Name }}c{{ else }}d{{ end }}", "{{ if .Empty }}a{{ end }}",
    "{{ if .None }}a{{ else }}b{{ end }}{{ if .NoMap }}a{{ else }}b{{ end }}{{ if .Null }}a{{ else }}b{{ end }}{{ if .Real }}a{{ end }}",
    "{{ if }}a{{ end }}", "{{ if .Yes }}a", "{{ end }}", "{{ else }}", "{{ if 1 }}{{ else }}{{ else }}{{ end }}", "{{ if .Yes }}a{{ end x }}",
    "{{ with .Map }}{{ .a }}{{ $.Name }}{{ else }}no{{ end }}", "{{ with .Null }}x{{ else }}{{ .Name }}{{ end }}",
    # Loops.
    "{{ range .List }}[{{ . }}]{{ end }}", "{{ range $e := .List }}{{ $e }}{{ . }}{{ end }}", "{{ range $i, $e := .List }}{{ $i }}={{ $e }};{{ end }}",
    "{{ range $k, $v := .Map }}{{ $k }}={{ $v }};{{ end }}", "{{ range .None }}x{{ else }}none{{ end }}", "{{ range .Missing }}x{{ else }}none{{ end }}",
    "{{ range .Name }}{{ end }}", "{{ range .Yes }}{{ end }}", "{{ range .Real }}{{ end }}",
    "{{ range $i, $e := .List }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ $e }}{{ end }}",
    "{{ range $i, $e := .List }}{{ if eq $i 1 }}{{ break }}{{ end }}{{ $e }}{{ else }}none{{ end }}", "{{ break }}", "{{ continue }}",
    "{{ if 1 }}{{ break }}{{ end }}", "{{ range .List }}{{ else }}{{ break }}{{ end }}", "{{ range .List }}{{ break 1 }}{{ end }}",
    "{{ range .List }}{{ range $.None }}{{ else }}{{ break }}{{ end }}{{ . }}{{ end }}",
    "{{ range .List }}{{ range $.None }}{{ else }}{{ continue }}{{ end }}{{ . }}{{ end }}",
    "{{ range .Mixed }}{{ . }},{{ end }}", "{{ range .Mixed }}{{ if . }}y{{ else }}n{{ end }}{{ end }}", "{{ range $x, }}{{ end }}", "{{ range $a, $b, $c := .List }}{{ end }}",
    "{{ $x := 0 }}{{ range $x = .List }}{{ end }}{{ $x }}", "{{ $i := 0 }}{{ $e := 0 }}{{ range $i, $e = .List }}{{ end }}{{ $i }}{{ $e }}",
    "{{ range .People }}{{ .Name }}:{{ range .Tags }}{{ . }}{{ else }}-{{ end }} {{ end }}", "{{ range }}{{ end }}", "{{ range $i, .List }}{{ end }}",
    # Templates in templates.
    "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" .Name }}{{ template \"t\" }}", "{{ template \"u\" . }}", "{{ template t }}", "{{ template \"t\"",
    "{{ define \"t\" }}a{{ end }}{{ define \"t\" }}b{{ end }}", "{{ define \"t\" }} {{ end }}{{ define \"t\" }}b{{ end }}{{ template \"t\" }}",
    "{{ block \"b\" .Count }}({{ . }}){{ end }}{{ template \"b\" .Name }}", "{{ if 1 }}{{ define \"t\" }}{{ end }}{{ end }}", "{{ define \"t\" }}{{ $.a }}{{ end }}{{ template \"t\" .Map }}",
    "{{ $x := 1 }}{{ define \"t\" }}{{ $x }}{{ end }}", "{{ define t }}{{ end }}", "{{ define \"t\" }}", "{{ define \"t\" .Name }}{{ end }}", "{{ block \"b\" }}{{ end }}",
    "{{ define \"r\" }}{{ with .next }}{{ template \"r\" . }}{{ end }}.{{ end }}{{ template \"r\" .Map }}", "{{ range .List }}{{ block \"x\" . }}{{ break }}{{ end }}{{ end }}",
    # and, or, not.
    "{{ and 1 0 2 }} {{ and 1 2 }} {{ or 0 \"\" 3 4 }} {{ or 0 \"\" }}| {{ not 0 }} {{ not .Name }}", "{{ and .Missing (index .List 9) }}", "{{ or .Name (index .List 9) }}",
    "{{ and .Name (index .List 9) }}", "{{ 1 | and 2 }} {{ 0 | or 0 }}", "{{ and }}", "{{ not }}", "{{ not 1 2 }}", "{{ and nil 1 }}", "{{ or nil nil }}",
    # Comparison.
    "{{ eq 1 1 }} {{ eq 1 2 }} {{ eq 1 2 1 }} {{ eq \"a\" \"a\" }} {{ eq 1.0 1.0 }} {{ eq true .Yes }} {{ ne 1 2 }}", "{{ eq 1 1.0 }}", "{{ eq 1 \"1\" }}", "{{ eq 1 }}", "{{ eq }}",
    "{{ eq .Null nil }} {{ eq .Name nil }} {{ eq nil 1 }} {{ ne .Missing \"x\" }}", "{{ eq .List .List }}", "{{ eq .Map nil }} {{ eq nil .List }}", "{{ eq .List \"x\" }}", "{{ eq .List .Map }}",
    "{{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 }} {{ ge 2 2 }} {{ lt \"a\" \"b\" }} {{ lt 1.5 2.5 }} {{ le \"b\" \"a\" }}", "{{ lt 1 1.5 }}", "{{ lt true false }}", "{{ lt nil 1 }}", "{{ lt 1 }}", "{{ gt .Count 2 }}", "{{ gt .Count 2.0 }}",
    "{{ eq (index .Name 0) 65 }} {{ lt (index .Name 0) 66 }} {{ index .Name 1 }}",
    # len, index, slice.
    "{{ len .List }} {{ len .Map }} {{ len .Name }} {{ len \"é\" }} {{ len .None }}", "{{ len .Null }}", "{{ len 3 }}", "{{ len nil }}",
    "{{ index .List 1 }} {{ index .Map \"a\" }} {{ index .Map \"zz\" }} {{ index .Map \"c\" \"deep\" \"er\" 2 }} {{ index .People 0 }} {{ index .List }}", "{{ index .List 3 }}", "{{ index .List -1 }}", "{{ index .List \"a\" }}",
    "{{ index .Map 1 }}", "{{ index .Map nil }}", "{{ index .List nil }}", "{{ index nil 1 }}", "{{ index 3 1 }}", "{{ index .Null 1 }}", "{{ index .Map \"n\" \"x\" }}", "{{ index .List 1.0 }}",
    "{{ slice .Name 1 }} {{ slice .Name 1 2 }} {{ slice .List 1 }} {{ slice .List 1 2 }} {{ slice .Name }} {{ slice .List 0 1 2 }} {{ slice .List 3 }}", "{{ slice .Name 4 }}", "{{ slice .Name 2 1 }}", "{{ slice .Name 0 1 2 }}",
    "{{ slice .Map 1 }}", "{{ slice nil }}", "{{ slice .List 1 2 3 4 }}", "{{ slice \"é\" 1 | printf \"%x\" }}",
    # Printing.
    "{{ print 1 2 }} {{ print \"a\" 1 2 \"b\" }} {{ print \"a\" \"b\" }} {{ print nil }} {{ print }}|{{ println 1 \"a\" }}|{{ println }}", "{{ .List }} {{ .Map }} {{ .Mixed }} {{ .People }} {{ .None }} {{ .NoMap }}",
    "{{ .Big }} {{ .Tiny }} {{ .Huge }} {{ .Real }} {{ .Count }} {{ .Minus }}", "{{ printf \"%d %s\" .Count .Name }} {{ printf \"%d\" 3 }}",
    "{{ printf \"%5d|%-5d|%05d|%+d|% d|%x|%X|%o|%b|%c|%q|%U|%#x|%#o|%O|%.3d\" 42 42 42 42 42 42 42 42 42 42 42 42 42 42 42 42 }}",
    "{{ printf \"%5s|%-5s|%.1s|%q|%x|%X|% x|%#x|%+q|%#q|%05s\" \"ab\" \"ab\" \"ab\" \"a\\\"b\" \"ab\" \"ab\" \"ab\" \"ab\" \"é\" \"ab\" \"ab\" }}",
    "{{ printf \"%f|%.2f|%8.2f|%-8.2f|%08.2f|%+.1f|%e|%E|%g|%G|%.3g|%6.0f|%#g\" 3.14159 3.14159 3.14159 3.14159 -3.14159 3.14159 3.14159 3.14159 3.14159 1e20 1234.5 2.5 3.0 }}",
    "{{ printf \"%t %v %5t|\" true false true }}", "{{ printf \"%d\" \"a\" }} {{ printf \"%s\" 1 }} {{ printf \"%t\" 1 }} {{ printf \"%s\" nil }} {{ printf \"%d\" .Null }} {{ printf \"%z\" 1 }} {{ printf \"%d\" 1.5 }} {{ printf \"%s\" true }}",
    "{{ printf \"%d\" }} {{ printf \"%d\" 1 2 }} {{ printf \"%\" }} {{ printf \"%%\" }} {{ printf \"a\" .Map .List nil }} {{ printf \"%!\" 1 }}", "{{ printf \"%*d|%-*d|%.*f\" 5 42 5 42 1 3.14159 }} {{ printf \"%*d\" \"x\" 1 }}",
    "{{ printf \"%v %d %s %q %x\" .List .List .List .List .List }}", "{{ printf \"%v %+v %s\" .Map .People .Map }}", "{{ printf \"%T %T %T %T %T %T %T\" 1 \"a\" 1.5 true .List .Map nil }}", "{{ printf 3 }}", "{{ printf .Count }}", "{{ printf .Null }}", "{{ printf }}",
    "{{ printf .Name }}", "{{ \"x\" | printf }}", "{{ printf \"%s\" (printf \"%d\" 1) }}", "{{ printf \"%c|%q|%U|%#U\" 0x1F999 0x1F999 0x1F999 0x1F999 }} {{ printf \"%c\" -1 }} {{ printf \"%q\" 'x' }}", "{{ printf \"%06d|%+06d|%x|%x\" -42 42 -42 .Minus }}",
    "{{ html \"<a href='x'>&\\\"\" }} {{ html .Text 1 }} {{ html nil }} {{ html .Missing 1 }}", "{{ js \"it's <b>&=\\\"\\n\\\\ é\\u2028\\x00\" }}", "{{ urlquery \"a b&c/d?é~-_.\" }} {{ urlquery 1 2 }}", "{{ call .Name }}", "{{ call nil }}",
    # Ollama's.
    "{{ json .Map }} {{ json .Text }} {{ json .Mixed }} {{ json .Null }} {{ json .Big }} {{ json .Tiny }} {{ json .Huge }} {{ json 1.5 }} {{ json .None }} {{ json .NoMap }} {{ json \"<>&\\u2028\\x01\\x7f\\xff\" }}",
    "{{ json }}", "{{ json 1 2 }}", "{{ .Map | json | len }}", "{{ currentDate }} {{ currentDate \"x\" }} {{ yesterdayDate }}", "{{ currentDate 1 }}", "{{ currentDate nil }}", "{{ toTypeScriptType .Map }} {{ toTypeScriptType nil }}", "{{ toTypeScriptType }}",
]
