# Door 1: a PVH loader jumps to `pvh_start` in 32-bit protected mode, paging off, EBX pointing at
# the start-info (Xen, "x86/HVM direct boot ABI"). What leaves here is long mode with SSE on, 4 GiB
# of memory mapped twice (one to one, and at the physical map's place), and a stack. A CPU that has
# no such mode, or cannot forbid execution, is told so here: Rust's code would not get that far.

.section .note.Xen, "a", @note
.balign 4
.long 4                         # length of the name
.long 8                         # length of the value
.long 18                        # XEN_ELFNOTE_PHYS32_ENTRY
.asciz "Xen"
.quad pvh_start

.section .bss.boot, "aw", @nobits
.balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pds:  .skip 4096 * 4

# The time-stamp counter at the entry; not in `.bss`, which is cleared after it was written.
.section .data.boot, "aw"
.balign 8
.globl boot_entry_time_stamp
boot_entry_time_stamp: .quad 0

.section .boot.text, "ax"
.code32
.globl pvh_start
pvh_start:
  cli
  cld
  movl %ebx, %esi               # the start-info survives in ESI
  # A loader may have put the image where there is no memory; such places keep nothing.
  movl $no_memory, %edi
  movl $__image_end - 4, %eax
  movl $0x5aa55aa5, (%eax)
  movl $BOOT_STACK + {stack_end}, %esp
  movl $0, -4(%esp)
  cmpl $0x5aa55aa5, (%eax)
  jne refuse

  # A CPU that has CPUID can change the flag ID (Intel SDM vol. 1, 20.1).
  pushfl
  popl %eax
  movl %eax, %ecx
  xorl $0x200000, %eax
  pushl %eax
  popfl
  pushfl
  popl %eax
  movl $no_long_mode, %edi
  xorl %ecx, %eax
  testl $0x200000, %eax
  jz refuse
  movl $0x80000000, %eax
  cpuid
  cmpl $0x80000001, %eax
  jb refuse
  movl $0x80000001, %eax
  cpuid
  btl $29, %edx
  jnc refuse
  movl $no_nx, %edi
  btl $20, %edx
  jnc refuse

  rdtsc
  movl %eax, boot_entry_time_stamp
  movl %edx, boot_entry_time_stamp + 4

  # The upper two tables are mostly empty; loaders do not promise zeroed memory.
  movl $boot_pml4, %edi
  xorl %eax, %eax
  movl $2048, %ecx
  rep stosl

  # Present and writable: PML4[0] and PML4[256] share one table of four 1 GiB directories.
  movl $boot_pdpt + 3, %eax
  movl %eax, boot_pml4
  movl %eax, boot_pml4 + 256 * 8
  movl $boot_pds + 3, %eax
  movl %eax, boot_pdpt
  addl $4096, %eax
  movl %eax, boot_pdpt + 8
  addl $4096, %eax
  movl %eax, boot_pdpt + 16
  addl $4096, %eax
  movl %eax, boot_pdpt + 24

  # 2048 pages of 2 MiB: present, writable, large.
  movl $boot_pds, %edi
  movl $0x83, %eax
  movl $2048, %ecx
1:
  movl %eax, (%edi)
  movl $0, 4(%edi)
  addl $0x200000, %eax
  addl $8, %edi
  decl %ecx
  jnz 1b

  movl %cr4, %eax
  orl $0x620, %eax              # PAE, OSFXSR, OSXMMEXCPT
  movl %eax, %cr4
  movl $boot_pml4, %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx        # EFER
  rdmsr
  orl $0x900, %eax              # LME, NXE
  wrmsr
  movl %cr0, %eax
  andl $0x9ffffffb, %eax        # not CD, not NW, not EM
  orl $0x80010022, %eax         # PG, WP, NE, MP
  movl %eax, %cr0
  lgdt boot_gdt_pointer
  ljmpl $8, $long_mode

# Says on COM1 what is at EDI, and ends the machine.
refuse:
  # 115200 baud, 8 bits, no parity, FIFO (NS16550A, 8.0).
  movl $refuse_uart, %esi
  movl $6, %ecx
1:
  movw (%esi), %dx
  movb 2(%esi), %al
  outb %al, %dx
  addl $3, %esi
  decl %ecx
  jnz 1b
2:
  movl $0x100000, %ecx          # turns of waiting for the transmitter
3:
  movw $0x3fd, %dx
  inb %dx, %al
  testb $0x20, %al
  loopz 3b
  movw $0x3f8, %dx
  movb (%edi), %al
  outb %al, %dx
  incl %edi
  cmpb $0, (%edi)
  jne 2b
  movl $0x100000, %ecx          # and until all has left it
4:
  movw $0x3fd, %dx
  inb %dx, %al
  testb $0x40, %al
  loopz 4b
  movl $0x11, %eax              # isa-debug-exit, where a test has one: failure
  movw $0xf4, %dx
  outl %eax, %dx
  movw $0x2000, %ax             # power-off of QEMU's q35
  movw $0x604, %dx
  outw %ax, %dx
5:
  hlt
  jmp 5b

refuse_uart:
  .macro uart register, value
  .word 0x3f8 + \register
  .byte \value
  .endm
  uart 1, 0                     # no interrupts
  uart 3, 0x80                  # the divisor
  uart 0, 1
  uart 1, 0
  uart 3, 3                     # 8 bits
  uart 2, 7                     # FIFO on and empty
no_memory:
  .asciz "cannot run: too little memory, not even the kernel fits in\r\n"
no_long_mode:
  .asciz "cannot run: this CPU has no 64-bit mode (x86-64)\r\n"
no_nx:
  .asciz "cannot run: this CPU cannot forbid execution of a page (NX)\r\n"

.code64
long_mode:
  movw $0x10, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  xorl %eax, %eax
  movw %ax, %fs
  movw %ax, %gs

  # After a warm reset `.bss` holds the last boot's values.
  movl $__bss_start, %edi
  movl $__bss_end, %ecx
  subl %edi, %ecx
  shrl $3, %ecx
  rep stosq

  movl $BOOT_STACK + {stack_end}, %esp
  xorl %ebp, %ebp               # where backtraces end
  movl %esi, %edi
  call {pvh_main}
  ud2

.balign 16
boot_gdt:
  .quad 0
  .quad 0x00af9b000000ffff      # code: 64 bit, ring 0
  .quad 0x00cf93000000ffff      # data
boot_gdt_pointer:
  .word . - boot_gdt - 1
  .quad boot_gdt
