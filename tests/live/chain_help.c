/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "chain_help.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
__asm__(".text\n"
	".globl chain_load, chain_load_at\n"
	".type chain_load, @function\n"
	"chain_load:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n"
	"	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rdi, %rsi\n"
	"	movq %rdi, %xmm15\n"
	"	mov $0x1a, %eax\n	mov $0x1b, %ebx\n"
	"	mov $0x1c, %ecx\n	mov $0x1d, %edx\n"
	"	mov $0x1e, %edi\n	mov $0x1f, %ebp\n"
	"	mov $0x28, %r8d\n	mov $0x29, %r9d\n"
	"	mov $0x2a, %r10d\n	mov $0x2b, %r11d\n"
	"	mov $0x2c, %r12d\n	mov $0x2d, %r13d\n"
	"	mov $0x2e, %r14d\n	mov $0x2f, %r15d\n"
	"chain_load_at:\n"
	"	movb (%rsi), %al\n"
	"	cmp $0x1b, %rbx\n	jne 1f\n"
	"	cmp $0x1c, %rcx\n	jne 1f\n"
	"	cmp $0x1d, %rdx\n	jne 1f\n"
	"	cmp $0x1e, %rdi\n	jne 1f\n"
	"	cmp $0x1f, %rbp\n	jne 1f\n"
	"	cmp $0x28, %r8\n	jne 1f\n"
	"	cmp $0x29, %r9\n	jne 1f\n"
	"	cmp $0x2a, %r10\n	jne 1f\n"
	"	cmp $0x2b, %r11\n	jne 1f\n"
	"	cmp $0x2c, %r12\n	jne 1f\n"
	"	cmp $0x2d, %r13\n	jne 1f\n"
	"	cmp $0x2e, %r14\n	jne 1f\n"
	"	cmp $0x2f, %r15\n	jne 1f\n"
	"	movq %xmm15, %rdi\n"
	"	cmp %rdi, %rsi\n	jne 1f\n"
	"	movzbl %al, %eax\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n"
	"	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	"1:	ud2\n"
	".size chain_load, . - chain_load\n");
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl chain_load, chain_load_at\n"
	".type chain_load, %function\n"
	"chain_load:\n"
	"	mov x1, x0\n	mov x9, #0x29\n	fmov d15, x0\n"
	"chain_load_at:\n"
	"	ldrb w0, [x1]\n"
	"	cmp x9, #0x29\n	b.ne 1f\n"
	"	fmov x9, d15\n	cmp x9, x1\n	b.ne 1f\n"
	"	ret\n"
	"1:	udf #0\n"
	".size chain_load, . - chain_load\n");
#endif

unsigned char *chain_hole(void)
{
	int fd = memfd_create("hole", MFD_CLOEXEC);
	unsigned char *at;

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)live_page()), 0);
	at = mmap(NULL, 2 * live_page(), PROT_READ | PROT_WRITE, MAP_SHARED,
		  fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at + live_page();
}

unsigned char *chain_apart(size_t pages)
{
	static uint64_t next = 0x200000000000;
	size_t len = pages * live_page();
	unsigned char *at = mmap((void *)next, len, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS |
				 MAP_FIXED_NOREPLACE, -1, 0);

	CHECK(at == (void *)next);
	next += 0x1000000;
	CHECK(len < 0x1000000);
	madvise(at, len, MADV_NOHUGEPAGE);
	live_fill(at, len, 0);
	return at;
}

unsigned char *chain_closed(void)
{
	unsigned char *at = live_pages(1);

	CHECK_EQ(mprotect(at, live_page(), PROT_NONE), 0);
	return at;
}

void chain_start(void)
{
	live_start(BEZ_START_NO_EARLY_KILL);
}

void chain_mend(void *page)
{
	void *at = mmap((void *)((uint64_t)page & -live_page()), live_page(),
			PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	/* in a handler: CHECK() would print */
	if (at == MAP_FAILED)
		_exit(98);
}

static void read_registers(pid_t pid, struct chain_end *end)
{
	struct user_regs_struct regs;
	struct iovec io = { &regs, sizeof(regs) };

	CHECK_EQ(ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &io), 0);
#if defined(__x86_64__)
	end->pc = regs.rip;
	end->sp = regs.rsp;
#else
	end->pc = regs.pc;
	end->sp = regs.sp;
#endif
}

struct chain_end chain_trace(void (*fn)(void *), void *arg)
{
	struct chain_end end = { 0 };
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(97);
		fn(arg);
		_exit(0);
	}
	for (;;) {
		int sig;

		CHECK_EQ(waitpid(pid, &end.status, 0), pid);
		if (!WIFSTOPPED(end.status))
			return end;
		sig = WSTOPSIG(end.status);
		if (sig == SIGBUS || sig == SIGSEGV) {
			end.stops++;
			CHECK_EQ(ptrace(PTRACE_GETSIGINFO, pid, NULL,
					&end.info), 0);
			read_registers(pid, &end);
		}
		CHECK_EQ(ptrace(PTRACE_CONT, pid, NULL, (long)sig), 0);
	}
}

void chain_same_end(const struct chain_end *a, const struct chain_end *b)
{
	int sig = a->info.si_signo;

	CHECK(sig == SIGBUS || sig == SIGSEGV);
	CHECK_EQ(b->info.si_signo, sig);
	CHECK(WIFSIGNALED(a->status) && WTERMSIG(a->status) == sig);
	CHECK(WIFSIGNALED(b->status) && WTERMSIG(b->status) == sig);
	CHECK_EQ(a->info.si_code, b->info.si_code);
	CHECK_EQ(a->info.si_errno, b->info.si_errno);
	if (a->info.si_code > 0) {
		CHECK_EQ((long)a->info.si_addr, (long)b->info.si_addr);
		CHECK_EQ(a->info.si_addr_lsb, b->info.si_addr_lsb);
		CHECK(!memcmp(&a->info, &b->info, CHAIN_INFO_BYTES));
	}
	CHECK_EQ(a->pc, b->pc);
	CHECK_EQ(a->sp, b->sp);
}

void *chain_shared(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

void chain_until(int (*done)(void *), void *arg, const char *what)
{
	struct timespec now, end, nap = { 0, 1000000 };
	unsigned int limit = 20 * tap_patience();

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += limit;
	while (!done(arg)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		CHECKF(now.tv_sec < end.tv_sec, "not within %u s: %s", limit,
		       what);
		nanosleep(&nap, NULL);
	}
}

uint64_t chain_mask(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
	return mask;
}
