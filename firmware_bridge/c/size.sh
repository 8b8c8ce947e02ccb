#!/bin/sh
# What the library takes on a Cortex-M0+, as this compiler has it: code and tables in flash, one link and one stream in RAM.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
flags="-std=c99 -mcpu=cortex-m0plus -mthumb -Os -ffreestanding -ffunction-sections -fdata-sections"
arm-none-eabi-gcc $flags -c "$here/edgeseq_bridge.c" -o "$made/bridge.o"
printf '#include "edgeseq_bridge.h"\neb_link link;\neb_stream stream;\n' > "$made/ram.c"
arm-none-eabi-gcc $flags -I"$here" -c "$made/ram.c" -o "$made/ram.o"
flash=$(arm-none-eabi-size "$made/bridge.o" | awk 'NR == 2 { print $1 + $2 }')
ram=$(arm-none-eabi-size "$made/bridge.o" "$made/ram.o" | awk 'NR > 1 { sum += $2 + $3 } END { print sum }')
echo "$flash bytes of flash, $ram bytes of RAM (a link and a stream), with $(arm-none-eabi-gcc -dumpversion)"
