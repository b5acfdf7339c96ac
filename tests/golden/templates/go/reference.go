// What Go's text/template makes of templates, and of conversations by Ollama's rules.
//
//	go run reference.go < CASES.jsonl > ANSWERS.jsonl
//
// A case is a JSON object with a template and one of
//
//	"data":      what the template is executed with
//	"messages":  a conversation, with "tools" and "think" besides
//	"prompt" and "suffix"
//
// An answer is {"text":…} or {"error":…}. The types are those that Ollama's templates see; their
// names and fields are Ollama's.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
	"text/template/parse"
)

type words []string

func (w words) String() string {
	switch len(w) {
	case 0:
		return ""
	case 1:
		return w[0]
	}
	return fmt.Sprint([]string(w))
}

func (w words) MarshalJSON() ([]byte, error) {
	if len(w) == 1 {
		return json.Marshal(w[0])
	}
	return json.Marshal([]string(w))
}

func (w *words) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(w))
}

type property struct {
	AnyOf       []property     `json:"anyOf,omitempty"`
	Type        words          `json:"type,omitempty"`
	Items       any            `json:"items,omitempty"`
	Description string         `json:"description,omitempty"`
	Enum        []any          `json:"enum,omitempty"`
	Properties  *orderedFields `json:"properties,omitempty"`
	Required    []string       `json:"required,omitempty"`
}

func (p property) ToTypeScriptType() string {
	names := map[string]string{"string": "string", "number": "number", "integer": "number",
		"boolean": "boolean", "array": "any[]", "object": "Record<string, any>", "null": "null"}
	var all []string
	for _, choice := range p.AnyOf {
		all = append(all, choice.ToTypeScriptType())
	}
	for _, name := range p.Type {
		if len(p.AnyOf) > 0 {
			break
		}
		if names[name] == "" {
			names[name] = "any"
		}
		all = append(all, names[name])
	}
	if len(all) == 0 {
		return "any"
	}
	return strings.Join(all, " | ")
}

// Properties in the order they were given.
type orderedFields struct {
	keys []string
	all  map[string]property
}

func (o *orderedFields) ToMap() map[string]property { return o.all }
func (o *orderedFields) Len() int                   { return len(o.keys) }

func (o *orderedFields) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &o.all); err != nil {
		return err
	}
	reader := json.NewDecoder(bytes.NewReader(text))
	reader.Token()
	for reader.More() {
		key, _ := reader.Token()
		var skipped json.RawMessage
		reader.Decode(&skipped)
		o.keys = append(o.keys, key.(string))
	}
	return nil
}

func (o orderedFields) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			out.WriteByte(',')
		}
		name, _ := json.Marshal(key)
		value, _ := json.Marshal(o.all[key])
		fmt.Fprintf(&out, "%s:%s", name, value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func asJSON(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

type properties map[string]property
type parameters struct {
	Type       string     `json:"type"`
	Defs       any        `json:"$defs,omitempty"`
	Items      any        `json:"items,omitempty"`
	Required   []string   `json:"required,omitempty"`
	Properties properties `json:"properties"`
}
type toolFunction struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}
type tool struct {
	Type     string       `json:"type"`
	Items    any          `json:"items,omitempty"`
	Function toolFunction `json:"function"`
}
type tools []tool
type arguments map[string]any
type callFunction struct {
	Index     int
	Name      string
	Arguments arguments
}
type toolCall struct {
	ID       string
	Function callFunction
}
type message struct {
	Role       string
	Content    string
	Thinking   string
	Images     [][]byte
	ToolCalls  []toolCall `json:"tool_calls"`
	ToolName   string     `json:"tool_name"`
	ToolCallID string     `json:"tool_call_id"`
}

func (p properties) String() string {
	if p == nil {
		return "{}"
	}
	return asJSON(p)
}
func (a arguments) String() string {
	if a == nil {
		return "{}"
	}
	return asJSON(a)
}
func (p parameters) String() string   { return asJSON(p) }
func (f toolFunction) String() string { return asJSON(f) }
func (t tool) String() string         { return asJSON(t) }
func (t tools) String() string        { return asJSON(t) }

const today, yesterday = "2026-09-21", "2026-09-20" // of reference.NOW

var functions = template.FuncMap{
	"json":          asJSON,
	"currentDate":   func(...string) string { return today },
	"yesterdayDate": func(...string) string { return yesterday },
	"toTypeScriptType": func(value any) string {
		switch of := value.(type) {
		case property:
			return of.ToTypeScriptType()
		case *property:
			return of.ToTypeScriptType()
		}
		return "any"
	},
}

type testCase struct {
	Template string
	Data     any
	Messages []*message
	Tools    tools
	Think    any
	Prompt   string
	Suffix   string
}

// Ollama's own walk over a template: the names of its fields and variables.
func names(node parse.Node, into map[string]bool) {
	list := func(nodes *parse.ListNode) {
		if nodes != nil {
			for _, n := range nodes.Nodes {
				names(n, into)
			}
		}
	}
	branch := func(b *parse.BranchNode) {
		names(b.Pipe, into)
		list(b.List)
		list(b.ElseList)
	}
	switch n := node.(type) {
	case *parse.ListNode:
		list(n)
	case *parse.ActionNode:
		names(n.Pipe, into)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			names(n.Pipe, into)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			for _, argument := range command.Args {
				names(argument, into)
			}
		}
	case *parse.FieldNode:
		for _, ident := range n.Ident {
			into[strings.ToLower(ident)] = true
		}
	case *parse.VariableNode:
		for _, ident := range n.Ident {
			into[strings.ToLower(ident)] = true
		}
	}
}

func hasResponse(node parse.Node) bool {
	field, ok := node.(*parse.FieldNode)
	if ok {
		for _, ident := range field.Ident {
			ok = ident == "Response"
			if ok {
				return true
			}
		}
	}
	return false
}

// The nodes up to the one that prints .Response.
func upToResponse(nodes []parse.Node, done *bool) []parse.Node {
	var kept []parse.Node
	branch := func(b *parse.BranchNode) {
		b.List.Nodes = upToResponse(b.List.Nodes, done)
		if b.ElseList != nil {
			b.ElseList.Nodes = upToResponse(b.ElseList.Nodes, done)
		}
	}
	for _, node := range nodes {
		if *done {
			break
		}
		switch n := node.(type) {
		case *parse.IfNode:
			branch(&n.BranchNode)
		case *parse.RangeNode:
			branch(&n.BranchNode)
		case *parse.WithNode:
			branch(&n.BranchNode)
		case *parse.ActionNode:
			for _, command := range n.Pipe.Cmds {
				for _, argument := range command.Args {
					*done = *done || hasResponse(argument)
				}
			}
		}
		kept = append(kept, node)
	}
	return kept
}

func render(c testCase) (string, error) {
	parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(c.Template)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if c.Data != nil {
		err = parsed.Execute(&out, c.Data)
		return out.String(), err
	}
	return renderConversation(parsed, c)
}

func renderConversation(parsed *template.Template, c testCase) (string, error) {
	var out bytes.Buffer
	known := map[string]bool{}
	for _, t := range parsed.Templates() {
		names(t.Root, known)
	}
	if !known["messages"] && !known["response"] {
		extended := template.Must(template.New("").Funcs(functions).Parse("{{ .Response }}"))
		parsed.Root.Nodes = append(parsed.Root.Nodes, extended.Root.Nodes...)
	}
	data := map[string]any{"Response": "", "Think": known["thinking"], "ThinkLevel": "",
		"IsThinkSet": known["thinking"] || c.Think != nil}
	switch think := c.Think.(type) {
	case bool:
		data["Think"] = think
	case string:
		data["Think"], data["ThinkLevel"] = true, think
	}
	if data["Think"] == true && data["ThinkLevel"] == "" {
		data["ThinkLevel"] = "medium"
	}
	if c.Suffix != "" {
		data["Prompt"], data["Suffix"] = c.Prompt, c.Suffix
		err := parsed.Execute(&out, data)
		return out.String(), err
	}
	var system []string
	var merged []*message
	for _, m := range c.Messages {
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		last := len(merged) - 1
		if last >= 0 && merged[last].Role == m.Role && m.Role != "tool" {
			merged[last].Content += "\n\n" + m.Content
		} else {
			merged = append(merged, m)
		}
		for i := range m.ToolCalls {
			m.ToolCalls[i].Function.Index = i
		}
	}
	if known["messages"] {
		data["System"], data["Messages"], data["Tools"] = strings.Join(system, "\n\n"), merged, c.Tools
		err := parsed.Execute(&out, data)
		return out.String(), err
	}
	err := renderTurns(parsed, merged, data, &out)
	return out.String(), err
}

func renderTurns(parsed *template.Template, merged []*message, data map[string]any, out *bytes.Buffer) error {
	clear := func() { data["System"], data["Prompt"], data["Response"] = "", "", "" }
	clear()
	for _, m := range merged {
		answered := data["Response"] != ""
		if m.Role == "system" && (answered || data["Prompt"] != "") || m.Role == "user" && answered {
			if err := parsed.Execute(out, data); err != nil {
				return err
			}
			clear()
		}
		switch m.Role {
		case "system":
			data["System"] = m.Content
		case "user":
			data["Prompt"] = m.Content
		case "assistant":
			data["Response"] = m.Content
		}
	}
	done := false
	parsed.Root.Nodes = upToResponse(parsed.Root.Nodes, &done)
	return parsed.Execute(out, data)
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var c testCase
			answer := map[string]string{}
			if err := json.Unmarshal(line, &c); err != nil {
				answer["error"] = "case: " + err.Error()
			} else if text, err := render(c); err != nil {
				answer["error"] = err.Error()
			} else {
				answer["text"] = text
			}
			encoder := json.NewEncoder(out)
			encoder.SetEscapeHTML(false)
			encoder.Encode(answer)
		}
		if err != nil {
			return
		}
	}
}
