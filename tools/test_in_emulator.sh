#!/usr/bin/env bash
# Runs the kernels' tests on a processor with AVX-512, emulated by Bochs, for machines that have none: a small Linux
# with nothing but those tests boots from a CD image, prints to a serial line, and switches itself off.
#
#   ./run build && tools/test_in_emulator.sh [TEST…]        # default: those of kernels/cpu; the AVX-512 cases of each
#
# Needs Debian's bochs bochs-x vgabios grub-pc-bin grub-common xorriso mtools cpio xvfb busybox-static linux-image-amd64.
# Booting takes three minutes and a test about two hundred times as long as here. Status 1 when a test fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for program in bochs-bin xvfb-run grub-mkrescue xorriso cpio strip; do
  command -v "$program" >/dev/null || { echo "test_in_emulator: there is no $program; install the packages named in this file" >&2; exit 2; }
done
tests=("$@")
[ $# -gt 0 ] || tests=(instruction_set storage norm activation rope top_k optimizer weight_product attention matrix_product cache_attention)
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$folder"' EXIT
root=$folder/root
others='*/emu128*:*/scalar*:*/sse*:*/ssse*:*/avx2*'
# Bochs 2.7 converts some numbers to fp16 otherwise than processors do: these two fail under AVX2 as well, and pass there
# where AVX is switched off.
emulator_faults='*RowsAreRoundedLikeElements*:*CachesTakeKeysInBlocksAndValuesAsRows*'
mkdir -p "$root"/{bin,proc,dev,tests,lib64,lib} "$folder/iso/boot/grub"
cp /bin/busybox "$root/bin/"
for name in "${tests[@]}"; do
  [ -x "build/release/tests/test_kernels_$name" ] || { echo "test_in_emulator: there is no build/release/tests/test_kernels_$name" >&2; exit 2; }
  ln -s tests_kernels "$root/tests/test_kernels_$name"
done
strip -o "$root/tests/tests_kernels" build/release/tests/tests_kernels
ldd "$root/tests/tests_kernels" | awk '/=> \//{print $3}' | sort -u | xargs cp -L -t "$root/lib/"
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1
export LD_LIBRARY_PATH=/lib
for name in ${tests[*]}; do
  echo "=== \$name"
  /tests/test_kernels_\$name --gtest_brief=1 --gtest_filter='-$others:$emulator_faults'
  echo "=== \$name: status \$?"
done
/bin/busybox sleep 5  # until the serial line has sent all
/bin/busybox poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$folder/iso/boot/initrd"
cp "$(ls /boot/vmlinuz-* | sort -V | tail -1)" "$folder/iso/boot/vmlinuz"
# Bochs 2.7 gives the sizes of compacted XSAVE areas wrong, after which Linux does without AVX: hence clearcpuid.
cat >"$folder/iso/boot/grub/grub.cfg" <<'GRUB'
set timeout=0
menuentry tests {
  linux /boot/vmlinuz console=ttyS0 quiet nokaslr mitigations=off cryptomgr.notests lsm= clearcpuid=aperfmperf,xsavec,xsaves
  initrd /boot/initrd
}
GRUB
grub-mkrescue -o "$folder/tests.iso" "$folder/iso" >"$folder/grub.log" 2>&1 || { cat "$folder/grub.log" >&2; exit 2; }
cat >"$folder/bochsrc" <<BOCHS
display_library: x
megs: 1024
cpu: model=corei7_skylake_x, count=1, ips=50000000, reset_on_triple_fault=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$folder/tests.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$folder/serial
log: $folder/bochs.log
panic: action=fatal
BOCHS
echo c >"$folder/commands"  # Debian's Bochs waits in its debugger
touch "$folder/serial"
tail -n +1 -f "$folder/serial" | grep --line-buffered -a -v -e '^Running main' -e '^\s*$' &
mkfifo "$folder/keys"
sleep infinity >"$folder/keys" &
xvfb-run -a bochs-bin -q -f "$folder/bochsrc" -rc "$folder/commands" <"$folder/keys" >"$folder/bochs.out" 2>&1 || true
passed=$(grep -a -c '^=== .*: status 0' "$folder/serial" || true)
[ "$passed" = "${#tests[@]}" ] || { echo "test_in_emulator: $passed of ${#tests[@]} passed" >&2; exit 1; }
echo "test_in_emulator: all ${#tests[@]} passed"
