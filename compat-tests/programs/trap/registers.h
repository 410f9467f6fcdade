/*
 * What a system call does to registers: those of the program, of which the call knows nothing.
 */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stddef.h>

#include "raw.h"

#ifdef __x86_64__
struct registers {
	uint64_t general[16], red[16], flags;
	int64_t result;
	uint64_t carry, unused[5];
	uint8_t vectors[16][64];
};

_Static_assert(offsetof(struct registers, flags) == 256 && offsetof(struct registers, vectors) == 320, "as below");

/*
 * One call, with all registers that the kernel preserves as in `before`, and what they are then in `after`. `wide`: 0
 * SSE, 1 AVX, 2 AVX-512.
 */
void call_with(const struct registers *before, struct registers *after, long nr, long a, long b, long wide);

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_X(n) "movdqu 320+64*" #n "(%rdi), %xmm" #n "\n"
#define LOAD_Y(n) "vmovdqu 320+64*" #n "(%rdi), %ymm" #n "\n"
#define LOAD_Z(n) "vmovdqu64 320+64*" #n "(%rdi), %zmm" #n "\n"
#define SAVE_X(n) "movdqu %xmm" #n ", 320+64*" #n "(%rcx)\n"
#define SAVE_Y(n) "vmovdqu %ymm" #n ", 320+64*" #n "(%rcx)\n"
#define SAVE_Z(n) "vmovdqu64 %zmm" #n ", 320+64*" #n "(%rcx)\n"

__asm__(".text\n.globl call_with\n.type call_with, @function\ncall_with:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\npush %rsi\npush %r9\n"
	"mov %rdx, %rax\n"
	"cmp $1, %r9\njb 1f\nja 2f\n" EACH(LOAD_Y) "jmp 3f\n"
	"1:\n" EACH(LOAD_X) "jmp 3f\n"
	"2:\n" EACH(LOAD_Z)
	/* the 128 bytes below the stack pointer */
	"3: xor %ebx, %ebx\n"
	"4: mov 128(%rdi,%rbx,8), %rdx\nmov %rdx, -128(%rsp,%rbx,8)\ninc %ebx\ncmp $16, %ebx\njb 4b\n"
	"mov 0(%rdi), %rbx\nmov 8(%rdi), %rbp\nmov 32(%rdi), %r9\nmov 40(%rdi), %r10\nmov 48(%rdi), %r12\n"
	"mov 56(%rdi), %r13\nmov 64(%rdi), %r14\nmov 72(%rdi), %r15\nmov 80(%rdi), %rdx\n"
	"mov %r8, %rsi\nmov 24(%rdi), %r8\nmov %rcx, %rdi\n"
	"std\nstc\n"
	"syscall\n"
	"mov 8(%rsp), %rcx\n"
	"mov %rax, 264(%rcx)\nsetc 272(%rcx)\n"
	"mov %rbx, 0(%rcx)\nmov %rbp, 8(%rcx)\nmov %r8, 24(%rcx)\nmov %r9, 32(%rcx)\nmov %r10, 40(%rcx)\n"
	"mov %r12, 48(%rcx)\nmov %r13, 56(%rcx)\nmov %r14, 64(%rcx)\nmov %r15, 72(%rcx)\nmov %rdx, 80(%rcx)\n"
	"mov %rdi, 88(%rcx)\nmov %rsi, 96(%rcx)\n"
	"xor %ebx, %ebx\n"
	"5: mov -128(%rsp,%rbx,8), %rdx\nmov %rdx, 128(%rcx,%rbx,8)\ninc %ebx\ncmp $16, %ebx\njb 5b\n"
	"pushfq\npop %rbx\nmov %rbx, 256(%rcx)\ncld\n"
	"cmpq $1, (%rsp)\njb 6f\nja 7f\n" EACH(SAVE_Y) "vzeroupper\njmp 8f\n"
	"6:\n" EACH(SAVE_X) "jmp 8f\n"
	"7:\n" EACH(SAVE_Z) "vzeroupper\n"
	"8: add $16, %rsp\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
	".size call_with, . - call_with\n");

/* `nr` with its first two arguments gives `result`, and changes no register but those that a call may. */
static UNUSED void check_registers(long nr, long a, long b, long result)
{
	const int wide = __builtin_cpu_supports("avx512f") ? 2 : __builtin_cpu_supports("avx") ? 1 : 0;
	const uint64_t direction = 0x400;
	struct registers before, after;

	memset(&before, 0, sizeof before);
	for (unsigned i = 0; i < 16; i++) {
		before.general[i] = 0x1000 + i;
		before.red[i] = 0x5ed0000000000000u + i;
	}
	for (unsigned i = 0; i < sizeof before.vectors; i++)
		before.vectors[i / 64][i % 64] = (uint8_t)(i * 7 + 1);
	memset(&after, 0, sizeof after);
	memcpy(after.vectors, before.vectors, sizeof after.vectors);
	for (unsigned i = 0; i < 16; i++)
		memset(after.vectors[i], 0, (size_t)16 << wide);
	call_with(&before, &after, nr, a, b, wide);
	CHECK(after.result == result);
	for (unsigned i = 0; i < 11; i++)
		CHECK(i == 2 || after.general[i] == before.general[i]);
	CHECK(after.general[11] == (uint64_t)a && after.general[12] == (uint64_t)b);
	CHECK(after.carry == 1 && (after.flags & direction) != 0);
	CHECK(memcmp(after.red, before.red, sizeof before.red) == 0);
	CHECK(memcmp(after.vectors, before.vectors, sizeof before.vectors) == 0);
}
#else
/* Only what the call gives. */
static UNUSED void check_registers(long nr, long a, long b, long result)
{
	CHECK(RAW3(nr, a, b, 0) == result);
}
#endif

#endif
