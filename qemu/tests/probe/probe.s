# The smallest kernel that lets a test look at a machine from inside; it does what the test's own
# configuration says. It is started by QEMU as a multiboot kernel, in 32-bit protected mode.
#
#   1. writes "boot" and a newline to the first serial port;
#   2. copies the fw_cfg file opt/craton/config to it, if there is one;
#   3. if the file's last byte is 0x10 or 0x11, writes that to the debug-exit port 0xf4;
#   4. halts for ever.
#
# mod.rs beside this holds the assembled bytes, so that the tests need no assembler:
#   as --32 probe.s -o probe.o && ld -m elf_i386 -Ttext 0x100000 --oformat binary probe.o -o probe.bin

.code32
.globl _start
_start:
header:                                 # Multiboot specification 0.6.96, section 3.1
  .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
  .long header, header, 0, 0, start
start:
  mov $0x80000, %esp
  cld
  mov $boot, %esi
  mov $0x3f8, %edx
1: lodsb
  test %al, %al
  jz 2f
  out %al, %dx
  jmp 1b
2: mov $0x510, %edx                     # fw_cfg: selector 0x510, data 0x511
  mov $0x19, %ax                        # the directory of files
  out %ax, %dx
  call be32                             # how many
  mov %eax, %ebp
entry:
  dec %ebp
  js hang
  call be32                             # the file's size
  mov %eax, %ebx
  call be32                             # its selector, in the upper half
  mov %eax, %esi
  mov $name, %edi
  mov $56, %ecx                         # its name
  mov $0x511, %edx
  xor %ah, %ah                          # 0 same so far, 1 different, 2 same to the end
3: in %dx, %al
  test %ah, %ah
  jnz 4f
  cmp (%edi), %al
  je 5f
  inc %ah
  jmp 4f
5: inc %edi
  test %al, %al
  jnz 4f
  mov $2, %ah
4: loop 3b
  cmp $2, %ah
  jne entry
  mov %esi, %eax
  shr $16, %eax
  dec %edx
  out %ax, %dx
  xor %cl, %cl
6: test %ebx, %ebx
  jz 8f
  dec %ebx
  mov $0x511, %edx
  in %dx, %al
  mov $0x3f8, %edx
  out %al, %dx
  mov %al, %cl
  jmp 6b
8: movzx %cl, %eax
  mov $0xf4, %edx
  cmp $0x10, %eax
  je 9f
  cmp $0x11, %eax
  jne hang
9: out %eax, %dx
hang:
  hlt
  jmp hang
be32:
  mov $0x511, %edx
  mov $4, %ecx
1: shl $8, %eax
  in %dx, %al
  loop 1b
  ret
boot: .asciz "boot\n"
name: .asciz "opt/craton/config"
