#!/bin/sh
# isa_symbols.sh NM OBJECT…: fails when an object of isa/avx2 or isa/avx512 has weak symbols or
# code that runs at start-up.
nm=$1
shift
checked=0
failed=0
for object in "$@"; do
  case $object in
    */isa/avx2/* | */isa/avx512/*) ;;
    *) continue ;;
  esac
  checked=$((checked + 1))
  if "$nm" -C "$object" | grep -E ' [WVu] | _GLOBAL__sub_I'; then
    echo "in $object"
    failed=1
  fi
done
[ "$checked" -gt 0 ] || { echo "no object to check"; exit 1; }
exit $failed
