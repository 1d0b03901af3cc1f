# The entry of the other CPUs: they begin in real mode, in a page of the first MiB that holds a copy
# of what stands between the two labels below (Intel SDM vol. 3, 8.4.4 and 9.8.5). The copy needs
# four words set, since it does not know where it lies: they are named `smp_set_...`. What leaves
# here is long mode on the kernel's own page tables, with SSE on and a stack.

.section .rodata.smp, "a"
.balign 16
.globl smp_copy_start, smp_copy_end
.globl smp_set_segments_base, smp_set_target, smp_set_root
smp_copy_start:
.code16
  cli
  cld
  movw %cs, %ax
  movw %ax, %ds
  xorl %ebx, %ebx
  movw %ax, %bx
  shll $4, %ebx                 # the address of this page
  lgdtl smp_segments_pointer - smp_copy_start
  movl %cr0, %eax
  orl $1, %eax                  # PE
  movl %eax, %cr0
  ljmpl *(smp_set_target - smp_copy_start)

.code32
.globl smp_protected
smp_protected:
  movw $0x10, %ax
  movw %ax, %ds
  movl $0x620, %eax             # PAE, OSFXSR, OSXMMEXCPT
  movl %eax, %cr4
  movl (smp_set_root - smp_copy_start)(%ebx), %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx        # EFER
  rdmsr
  orl $0x900, %eax              # LME, NXE
  wrmsr
  movl %cr0, %eax
  andl $0x9ffffff3, %eax        # not CD, not NW, not TS, not EM
  orl $0x80010022, %eax         # PG, WP, NE, MP
  movl %eax, %cr0
  ljmpl $8, $smp_long_mode

.balign 8
smp_segments:
  .quad 0
  .quad 0x00af9b000000ffff      # code: 64 bit, ring 0
  .quad 0x00cf93000000ffff      # data
  .quad 0x00cf9b000000ffff      # code: 32 bit, ring 0
smp_segments_pointer:
  .word . - smp_segments - 1
smp_set_segments_base:
  .long smp_segments - smp_copy_start   # to this the address of the page is added
smp_set_target:
  .long smp_protected - smp_copy_start  # to this too
  .word 0x18
  .balign 4
smp_set_root:
  .long 0                               # the address of the root of the page tables
smp_copy_end:

.section .text.smp, "ax"
.code64
smp_long_mode:
  movw $0x10, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  xorl %eax, %eax
  movw %ax, %fs
  movw %ax, %gs

  # The id of this CPU's APIC: of 32 bits where CPUID has it (leaf 0xb, EDX), else of 8.
  xorl %eax, %eax
  cpuid
  cmpl $0xb, %eax
  jb 1f
  movl $0xb, %eax
  xorl %ecx, %ecx
  cpuid
  testl %ebx, %ebx              # zero where the leaf has nothing to say
  jnz 2f
1:
  movl $1, %eax
  cpuid
  shrl $24, %ebx
  movl %ebx, %edx
2:
  # The row that was made for it: see `Row` in start.rs.
  leaq {rows}(%rip), %rdi
  movl ${rows_max}, %ecx
3:
  cmpl $0, 4(%rdi)              # a row that is used
  je 4f
  cmpl %edx, (%rdi)
  je 5f
4:
  addq ${row_bytes}, %rdi
  decl %ecx
  jnz 3b
  # No row: nobody wanted this CPU.
6:
  cli
  hlt
  jmp 6b
5:
  movq 8(%rdi), %rsp
  xorl %ebp, %ebp               # where backtraces end
  fninit                        # INIT leaves the vector unit as it was
  pushq $0x1f80
  ldmxcsr (%rsp)
  addq $8, %rsp
  call {main}
  ud2
