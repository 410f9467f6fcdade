/*
 * System calls past the C library, trapped: what they give, and what they leave as it was.
 */
#include "raw.h"

#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

extern char **environ;

static int frames_waiting(struct port *p)
{
	CHECK(raw_ioctl(p->fd, NIOCRXSYNC, NULL) == 0);
	return (int)ring_space(rx_ring(p, 0));
}

/* Both ways know one descriptor, whoever has opened it. */
static void both(void)
{
	struct port a = raw_port("vale0:a"), b = open_port("vale0:b");
	struct pollfd fds = { .fd = b.fd, .events = POLLIN };
	struct timespec never = { 3600, 0 };
	uint64_t seq = 0;
	struct stat st;

	CHECK(RAW3(SYS_fstat, a.fd, &st, 0) == 0 && S_ISCHR(st.st_mode));
	CHECK(RAW(SYS_newfstatat, AT_FDCWD, "/dev/netmap", &st, 0, 0, 0) == 0 && S_ISCHR(st.st_mode));
	CHECK(RAW3(SYS_read, a.fd, &st, 1) == -EINVAL);
	CHECK((RAW3(SYS_fcntl, a.fd, F_GETFL, 0) & O_ACCMODE) == O_RDWR);
	send_one(&a, 0xff, 1, &seq);
	CHECK(raw_poll(&fds, 1, &never, NULL) == 1 && fds.revents == POLLIN);
	CHECK(frames_waiting(&b) == 1);

	int copy = (int)RAW3(SYS_dup, a.fd, 0, 0);
	CHECK(RAW3(SYS_close, a.fd, 0, 0) == 0);
	check_port(copy);
	CHECK(dup2(copy, a.fd) == a.fd && close(copy) == 0);
	check_port(a.fd);
	int other = open("/dev/null", O_RDWR);
	CHECK(RAW3(SYS_dup3, other, a.fd, 0) == a.fd);
	CHECK(raw_ioctl(a.fd, NIOCTXSYNC, NULL) == -ENOTTY);
	struct { uint64_t flags, mode, resolve; } how = { .flags = O_RDWR };
	int third = (int)RAW(SYS_openat2, AT_FDCWD, "/dev/netmap", &how, sizeof how, 0, 0);
	CHECK(third >= 0 && close(third) == 0);
	raw_close_port(&b);
}

static void epoll(void)
{
	struct port a = raw_port("vale0:a"), b = raw_port("vale0:b");
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 7 };
	int ep = (int)RAW3(SYS_epoll_create1, EPOLL_CLOEXEC, 0, 0);
	uint64_t seq = 0;

	CHECK(ep >= 0 && RAW(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, b.fd, &event, 0, 0) == 0);
	memset(&event, 0, sizeof event);
	CHECK(RAW(SYS_epoll_pwait, ep, &event, 1, 0, 0, 8) == 0);
	send_one(&a, 0xff, 1, &seq);
	CHECK(RAW(SYS_epoll_pwait, ep, &event, 1, -1, 0, 8) == 1 && event.data.u64 == 7);
	memset(&event, 0, sizeof event);
	CHECK(epoll_wait(ep, &event, 1, -1) == 1 && event.data.u64 == 7);
}

/* What the kernel refuses is refused, bad addresses too. */
static void refusals(void)
{
	void *bad = (void *)8;
	struct port p = raw_port("vale0:a");

	errno = 77;
	CHECK(raw_ioctl(p.fd, NIOCCTRL, bad) == -EFAULT);
	CHECK(raw_ioctl(-1, NIOCTXSYNC, NULL) == -EBADF);
	CHECK(RAW(SYS_openat, AT_FDCWD, bad, O_RDONLY, 0, 0, 0) == -EFAULT);
	CHECK(RAW(SYS_openat, AT_FDCWD, "/nowhere", O_RDONLY, 0, 0, 0) == -ENOENT);
	CHECK(RAW(SYS_ppoll, bad, 1, 0, 0, 8, 0) == -EFAULT);
	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, bad, 0, 8, 0, 0) == -EFAULT);
	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, 0, 0, 7, 0, 0) == -EINVAL);
	CHECK(RAW(SYS_rt_sigprocmask, 99, &(uint64_t){ 0 }, 0, 8, 0, 0) == -EINVAL);
	CHECK(RAW(SYS_rt_sigaction, SIGUSR1, bad, 0, 8, 0, 0) == -EFAULT);
	CHECK(RAW(SYS_rt_sigaction, SIGKILL, 0, 0, 8, 0, 0) == 0);
	CHECK(RAW3(9999, 0, 0, 0) == -ENOSYS);
	CHECK(errno == 77);
}

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

static void check_registers(long nr, long a, long b, long result)
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

/* Over a call that is served, and over some that are the kernel's. */
static void registers(void)
{
	struct port p = raw_port("vale0:a");

	for (int i = 0; i < 1000; i++) {
		check_registers(SYS_ioctl, p.fd, NIOCTXSYNC, 0);
		check_registers(SYS_ioctl, p.fd, NIOCRXSYNC, 0);
		check_registers(SYS_getpid, 1, 2, getpid());
		check_registers(SYS_fcntl, p.fd, F_GETFD, 0);
		check_registers(SYS_close, -1, 0, -EBADF);
		check_registers(SYS_rt_sigprocmask, SIG_BLOCK, 0, -EINVAL);
	}
}
#else
static void registers(void)
{
}
#endif

static void nothing(int signal)
{
	(void)signal;
}

static int handler_fd;
static volatile sig_atomic_t handled;

/* All signals are blocked here, as the program believes. */
static void sync_in_handler(int signal)
{
	(void)signal;
	CHECK(raw_ioctl(handler_fd, NIOCTXSYNC, NULL) == 0);
	CHECK(RAW3(SYS_getpid, 0, 0, 0) == getpid());
	handled++;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
/* BSD's sigpause, which headers have no more. */
int __sigpause(int mask, int is_signal);

/* By the functions of BSD and System V. */
static void blocked_as_of_old(int fd)
{
	sigsetmask(~0);
	check_port(fd);
	sigblock(1 << (SIGSYS - 1));
	check_port(fd);
	CHECK(sighold(SIGSYS) == 0);
	check_port(fd);
	CHECK(sigset(SIGSYS, SIG_HOLD) == SIG_DFL && sigset(SIGSYS, SIG_DFL) == SIG_DFL);
	check_port(fd);
	int before = handled;
	kill(getpid(), SIGUSR2);
	CHECK(__sigpause(~(1 << (SIGUSR2 - 1)), 0) < 0 && errno == EINTR && handled == before + 1);
	CHECK(sigignore(SIGSYS) == 0);
	check_port(fd);
	CHECK(kill(getpid(), SIGSYS) == 0 && signal(SIGSYS, SIG_DFL) == SIG_IGN);
	check_port(fd);
}
#pragma GCC diagnostic pop

/* Whoever blocks SIGSYS is trapped nevertheless. */
static void blocked(void)
{
	struct port p = raw_port("vale0:a");
	struct sigaction action = { .sa_handler = sync_in_handler }, old;
	struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } kernel;
	uint64_t all = ~0ull, none = 0, before;
	struct timespec soon = { 0, 1000 };
	sigset_t full, empty;

	handler_fd = p.fd;
	sigfillset(&full);
	sigemptyset(&empty);
	sigfillset(&action.sa_mask);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	CHECK(RAW(SYS_rt_sigaction, SIGUSR1, 0, &kernel, 8, 0, 0) == 0 && kernel.handler == (void *)sync_in_handler);
	kernel.mask = all;
	CHECK(RAW(SYS_rt_sigaction, SIGUSR2, &kernel, 0, 8, 0, 0) == 0);
	CHECK(sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == sync_in_handler);

	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8, 0, 0) == 0 && before == 0);
	check_port(p.fd);
	kill(getpid(), SIGUSR1);
	check_port(p.fd);
	CHECK(handled == 0);
	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, &none, &before, 8, 0, 0) == 0);
	CHECK((before & 1u << (SIGUSR1 - 1)) != 0 && handled == 1);
	CHECK(pthread_sigmask(SIG_SETMASK, &full, NULL) == 0);
	check_port(p.fd);
	CHECK(sigprocmask(SIG_SETMASK, &full, NULL) == 0);
	check_port(p.fd);
	kill(getpid(), SIGUSR2);
	/* handlers that a wait lets in run with its mask */
	sigdelset(&full, SIGUSR2);
	CHECK(ppoll(NULL, 0, NULL, &full) < 0 && errno == EINTR && handled == 2);
	kill(getpid(), SIGUSR2);
	CHECK(sigsuspend(&full) < 0 && errno == EINTR && handled == 3);
	kill(getpid(), SIGUSR2);
	uint64_t one = ~(1ull << (SIGUSR2 - 1));
	CHECK(raw_poll(NULL, 0, NULL, &one) == -EINTR && handled == 4);
	kill(getpid(), SIGUSR2);
	CHECK(RAW3(SYS_rt_sigsuspend, &one, 8, 0) == -EINTR && handled == 5);
	CHECK(pselect(0, NULL, NULL, NULL, &soon, &full) == 0);
	check_port(p.fd);
	blocked_as_of_old(p.fd);
}

static ucontext_t here, there;
static volatile int steps;

static void on_another_stack(void)
{
	check_port(handler_fd);
	steps++;
	CHECK(swapcontext(&there, &here) == 0);
	check_port(handler_fd);
	steps++;
}

static __attribute__((noinline)) void use_the_stack(void)
{
	volatile char room[4096];
	for (unsigned i = 0; i < sizeof room; i++)
		room[i] = 0x55;
}

static __attribute__((noinline)) void continue_thrice(int fd)
{
	volatile int times = 0;

	CHECK(swapcontext(&here, &there) == 0);
	use_the_stack();
	check_port(fd);
	sigfillset(&here.uc_sigmask);
	if (++times < 3)
		setcontext(&here);
	CHECK(times == 3);
}

/* Contexts whose masks have all signals; and one that is continued more than once, as longjmp allows. */
static void contexts(void)
{
	struct port p = raw_port("vale0:a");
	sigset_t empty;

	handler_fd = p.fd;
	CHECK(getcontext(&there) == 0);
	there.uc_stack.ss_sp = malloc(1 << 18);
	there.uc_stack.ss_size = 1 << 18;
	there.uc_link = &here;
	sigfillset(&there.uc_sigmask);
	makecontext(&there, on_another_stack, 0);
	CHECK(swapcontext(&here, &there) == 0 && steps == 1);
	check_port(p.fd);
	sigfillset(&there.uc_sigmask);
	CHECK(swapcontext(&here, &there) == 0 && steps == 2);
	check_port(p.fd);
	steps = 0;
	sigfillset(&there.uc_sigmask);
	makecontext(&there, on_another_stack, 0);
	continue_thrice(p.fd);
	CHECK(steps == 1);
	sigemptyset(&empty);
	CHECK(sigprocmask(SIG_SETMASK, &empty, NULL) == 0);
}

static volatile sig_atomic_t own, own_nr;

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	own++;
	if (info->si_code != 1)
		return;
	own_nr = info->si_syscall;
#ifdef __x86_64__
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4242;
#else
	((ucontext_t *)context)->uc_mcontext.regs[0] = 4242;
#endif
}

/* The program's own handler of SIGSYS, for what is sent and for a filter of its own. */
static void own_handler(void)
{
	struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO }, old;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 5),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { COUNT(code), code };
	struct port p = raw_port("vale0:a");

	CHECK(sigaction(SIGSYS, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
	CHECK(sigaction(SIGSYS, &action, NULL) == 0);
	CHECK(sigaction(SIGSYS, NULL, &old) == 0 && old.sa_sigaction == on_sigsys);
	CHECK(kill(getpid(), SIGSYS) == 0 && own == 1);
	CHECK(RAW3(SYS_kill, getpid(), SIGSYS, 0) == 0 && own == 2);
	check_port(p.fd);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
	CHECK(getpgid(0) == 4242 && own == 3 && own_nr == SYS_getpgid);
	CHECK(RAW3(SYS_getpgid, 0, 0, 0) == 4242 && own == 4);
	check_port(p.fd);
	CHECK(signal(SIGSYS, SIG_IGN) == (void *)on_sigsys);
	CHECK(kill(getpid(), SIGSYS) == 0 && own == 4);
	check_port(p.fd);
	pid_t child = fork();
	if (child == 0) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSYS, SIG_DFL);
		check_port(p.fd);
		getpgid(0);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static unsigned lines_of_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned n = 0;

	for (int c; (c = getc(maps)) != EOF;)
		n += c == '\n';
	fclose(maps);
	return n;
}

static void *one_thread(void *argument)
{
	struct port *shared = argument;
	int fd = raw_open();

	CHECK(fd >= 0);
	check_port(shared->fd);
	CHECK(RAW3(SYS_close, fd, 0, 0) == 0);
	return NULL;
}

/* Threads by hundreds, at once and one after the other: each is trapped, and leaves nothing. */
static void threads(void)
{
	struct port p = raw_port("vale0:a");
	pthread_t all[50];
	unsigned before = 0;

	for (int round = 0; round < 12; round++) {
		for (unsigned i = 0; i < COUNT(all); i++)
			CHECK(pthread_create(&all[i], NULL, one_thread, &p) == 0);
		for (unsigned i = 0; i < COUNT(all); i++)
			CHECK(pthread_join(all[i], NULL) == 0);
		if (round == 1)
			before = lines_of_maps();
	}
	/* the C library keeps stacks of threads, as many as they were at once */
	CHECK(lines_of_maps() <= before + COUNT(all));
}

/* Processes: fork's child is trapped, too; vfork's changes nothing of its parent's. */
static void children(void)
{
	struct port p = raw_port("vale0:a");
	char *arguments[] = { "/bin/sh", "-c", "exit 7", NULL };
	int status, extra = raw_open();
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		struct port own = raw_port("vale0:b");
		check_port(p.fd);
		raw_close_port(&own);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	for (int i = 0; i < 20; i++) {
		child = vfork();
		if (child == 0) {
			RAW3(SYS_close, p.fd, 0, 0);
			RAW3(SYS_dup3, 1, extra, 0);
			RAW3(SYS_fcntl, extra, F_SETFD, FD_CLOEXEC);
			RAW3(SYS_execve, arguments[0], arguments, environ);
			_exit(9);
		}
		CHECK(child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
		check_port(p.fd);
		check_port(p.fd);
		CHECK(ioctl(extra, NIOCTXSYNC, NULL) < 0 && errno == ENXIO);
	}
}

/* vfork by a call of our own: both return from it on one stack. */
static void raw_vfork(void)
{
	struct port p = raw_port("vale0:a");
	int status;

	for (int i = 0; i < 20; i++) {
		static char *arguments[] = { "/bin/sh", "-c", "exit 7", NULL };
		static char **environment;
		static int fd;
		environment = environ;
		fd = p.fd;
		long child = RAW(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0, 0);
		if (child == 0) {
			RAW3(SYS_close, fd, 0, 0);
			RAW3(SYS_dup3, 1, fd, 0);
			RAW3(SYS_execve, arguments[0], arguments, environment);
			RAW3(SYS_exit, 9, 0, 0);
		}
		CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && WEXITSTATUS(status) == 7);
		check_port(p.fd);
	}
	long child = RAW(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (child == 0)
		RAW3(SYS_exit_group, 3, 0, 0);
	CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && WEXITSTATUS(status) == 3);
}

/* fork by a call of our own: the child is trapped, and has the device as any child has. */
static void raw_fork(void)
{
	struct port p = raw_port("vale0:a");
	const unsigned long flags[] = { SIGCHLD, SIGCHLD | CLONE_VFORK };
	int status;

	for (unsigned i = 0; i < 3; i++) {
#ifdef SYS_fork
		long child = i == 2 ? RAW3(SYS_fork, 0, 0, 0) : RAW(SYS_clone, flags[i], 0, 0, 0, 0, 0);
#else
		long child = RAW(SYS_clone, flags[i % 2], 0, 0, 0, 0, 0);
#endif
		if (child == 0) {
			struct port its = raw_port("vale0:b");
			check_port(its.fd);
			check_port(p.fd);
			raw_close_port(&its);
			RAW3(SYS_exit_group, 5, 0, 0);
		}
		CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && status == 5 << 8);
		check_port(p.fd);
	}
}

static stack_t small;

static void on_small(int signal)
{
	stack_t now;

	check_port(handler_fd);
	int fd = raw_open();
	CHECK(fd >= 0 && RAW3(SYS_close, fd, 0, 0) == 0);
	for (int way = 0; way < 2; way++) {
		CHECK((way == 0 ? sigaltstack(NULL, &now) : RAW3(SYS_sigaltstack, 0, &now, 0)) == 0);
		CHECK(now.ss_sp == small.ss_sp && now.ss_size == small.ss_size && now.ss_flags == SS_ONSTACK);
	}
	CHECK(RAW3(SYS_sigaltstack, &small, 0, 0) == -EPERM);
	CHECK(sigaltstack(&small, NULL) < 0 && errno == EPERM);
	handled++;
	if (signal == SIGUSR1)
		raise(SIGUSR2);
}

static void count(int signal)
{
	(void)signal;
	handled++;
}

static void at_the_end(void *unused)
{
	(void)unused;
	raise(SIGALRM);
}

static pthread_key_t ending;

static void *with_small_stack(void *unused)
{
	(void)unused;
	int before = handled;
	CHECK(RAW3(SYS_sigaltstack, &small, 0, 0) == 0);
	raise(SIGUSR1);
	CHECK(handled == before + 2);
	CHECK(pthread_setspecific(ending, &small) == 0);
	return NULL;
}

/* Alternate stacks that a second frame of the kernel's would fill. */
static void small_stacks(void)
{
	struct port p = raw_port("vale0:a");
	struct sigaction action = { .sa_handler = on_small, .sa_flags = SA_ONSTACK };
	char *memory = mmap(NULL, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const size_t sizes[] = { 8192, 16384, MINSIGSTKSZ < 8192 ? MINSIGSTKSZ : 8192 };
	stack_t now, large = { .ss_sp = malloc(1 << 17), .ss_size = 1 << 17 };
	unsigned before = 0;
	pthread_t thread;

	handler_fd = p.fd;
	CHECK(memory != MAP_FAILED && mprotect(memory + 32768, 16384, PROT_READ | PROT_WRITE) == 0);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGUSR2, &action, NULL) == 0);
	for (unsigned i = 0; i < 2 * COUNT(sizes); i++) {
		small = (stack_t){ .ss_sp = memory + 49152 - sizes[i / 2], .ss_size = sizes[i / 2] };
		CHECK((i % 2 == 0 ? sigaltstack(&small, &now) : RAW3(SYS_sigaltstack, &small, &now, 0)) == 0);
		CHECK(i % 2 == 0 ? now.ss_flags == SS_DISABLE : now.ss_sp == small.ss_sp);
		handled = 0;
		CHECK(raise(SIGUSR1) == 0 && handled == 2);
		if (i % 2 == 0)
			continue;
		CHECK(sigaltstack(&large, &now) == 0 && now.ss_size == small.ss_size && now.ss_flags == 0);
		CHECK(RAW3(SYS_sigaltstack, 0, &now, 0) == 0 && now.ss_sp == large.ss_sp && now.ss_size == large.ss_size);
		CHECK(RAW3(SYS_sigaltstack, &(stack_t){ .ss_flags = SS_DISABLE }, &now, 0) == 0 && now.ss_sp == large.ss_sp);
	}
	CHECK(RAW3(SYS_sigaltstack, 8, 0, 0) == -EFAULT && RAW3(SYS_sigaltstack, 0, 8, 0) == -EFAULT);
	large.ss_size = 100;
	CHECK(RAW3(SYS_sigaltstack, &large, 0, 0) == -ENOMEM);

	/* what a thread has of these ends with it, and not before handlers that come then */
	action.sa_handler = count;
	CHECK(sigaction(SIGALRM, &action, NULL) == 0 && pthread_key_create(&ending, at_the_end) == 0);
	small = (stack_t){ .ss_sp = memory + 32768, .ss_size = 16384 };
	for (int i = 0; i < 30; i++) {
		handled = 0;
		CHECK(pthread_create(&thread, NULL, with_small_stack, NULL) == 0 && pthread_join(thread, NULL) == 0);
		CHECK(handled == 3);
		if (i == 5)
			before = lines_of_maps();
	}
	CHECK(lines_of_maps() <= before + 2);
}

static _Atomic int storm_ends, storms;
static int on_alternate;
static volatile sig_atomic_t at_once;
static size_t deep;

static void *storm(void *target)
{
	while (!storm_ends) {
		pthread_kill(*(pthread_t *)target, SIGURG);
		usleep(50);
	}
	return NULL;
}

static void on_urgent(int signal)
{
	(void)signal;
	/* more of them at once would fill the alternate stack */
	if (at_once == 4)
		return;
	at_once++;
	int error = errno;
	volatile char room[deep + 1];
	room[0] = 0;
	CHECK(RAW3(SYS_gettid, 0, 0, 0) == getpid() && room[0] == 0);
	CHECK(raw_ioctl(handler_fd, NIOCRXSYNC, NULL) == 0);
	struct pollfd fds = { .fd = handler_fd, .events = POLLIN };
	CHECK(raw_poll(&fds, 1, &(struct timespec){ 0, 0 }, NULL) >= 0);
	stack_t now;
	CHECK(sigaltstack(NULL, &now) == 0 && now.ss_flags == on_alternate);
	if (on_alternate == SS_ONSTACK)
		CHECK(RAW3(SYS_sigaltstack, &now, 0, 0) == -EPERM);
	storms++;
	at_once--;
	errno = error;
}

/* Signals all the time, on an alternate stack and on the thread's, with handlers that make calls themselves. */
static void signals(void)
{
	struct port p = raw_port("vale0:a"), q = raw_port("vale0:b");
	struct sigaction action = { .sa_handler = on_urgent, .sa_flags = SA_ONSTACK | SA_RESTART };
	stack_t alternate = { .ss_sp = malloc(1 << 17), .ss_size = 1 << 17 };
	pthread_t self = pthread_self(), other;
	uint64_t seq = 0;

	handler_fd = p.fd;
	for (int round = 0; round < 5; round++) {
		/* in the second one there is little room left below a handler */
		alternate.ss_size = round == 1 ? 32768 : 1 << 17;
		deep = round == 1 ? 18 << 10 : 0;
		if (round == 1 || round == 2)
			CHECK(sigaltstack(&alternate, NULL) == 0);
		if (round == 3)
			action.sa_flags |= SA_NODEFER;
		if (round == 4)
			CHECK(RAW3(SYS_sigaltstack, &(stack_t){ .ss_flags = SS_DISABLE }, 0, 0) == 0);
		on_alternate = round == 0 || round == 4 ? SS_DISABLE : SS_ONSTACK;
		CHECK(sigaction(SIGURG, &action, NULL) == 0);
		storm_ends = storms = 0;
		CHECK(pthread_create(&other, NULL, storm, &self) == 0);
		for (int i = 0; i < 2000 || storms < 100; i++) {
			struct pollfd fds = { .fd = q.fd, .events = POLLIN };
			struct timespec a_little = { 0, 200000 };
			CHECK(raw_ioctl(p.fd, NIOCTXSYNC, NULL) == 0);
			if (i % 4 == 0 && ring_space(tx_ring(&p, 0)) > 1)
				send_one(&p, 0xff, 1, &seq);
			long n = raw_poll(&fds, 1, &a_little, NULL);
			CHECK(n >= 0 || n == -EINTR);
			rx_ring(&q, 0)->head = rx_ring(&q, 0)->cur = rx_ring(&q, 0)->tail;
			check_registers(SYS_ioctl, q.fd, NIOCRXSYNC, 0);
			check_registers(SYS_getppid, 0, 0, getppid());
		}
		storm_ends = 1;
		CHECK(pthread_join(other, NULL) == 0);
	}
}

static sigjmp_buf out;

static void jump(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

/* Handlers that jump out of what they have interrupted. */
static void jumps(void)
{
	struct sigaction action = { .sa_handler = jump };
	struct itimerval soon = { .it_value.tv_usec = 500 };
	struct port p = raw_port("vale0:a");
	volatile unsigned before = 0;

	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	for (volatile int i = 0; i < 500; i++) {
		struct pollfd fds = { .fd = p.fd, .events = POLLIN };
		if (sigsetjmp(out, 1) == 0) {
			CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
			for (;;)
				raw_poll(&fds, 1, NULL, NULL);
		}
		check_port(p.fd);
		if (i == 10)
			before = lines_of_maps();
	}
	CHECK(lines_of_maps() <= before + 2);
}

static double nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* What a sync costs, beside a trapped call that the kernel answers, and a sync by the C library. Medians of rounds. */
static void cost(void)
{
	enum { ROUNDS = 41, CALLS = 200 };
	double syncs[ROUNDS], traps[ROUNDS], plain[ROUNDS];
	struct port p = raw_port("vale0:a");

	for (int round = 0; round < ROUNDS; round++) {
		double at[4];
		at[0] = nanoseconds();
		for (int i = 0; i < CALLS; i++)
			raw_ioctl(p.fd, NIOCTXSYNC, NULL);
		at[1] = nanoseconds();
		for (int i = 0; i < CALLS; i++)
			RAW(SYS_rt_sigprocmask, SIG_BLOCK, 0, 0, 7, 0, 0);
		at[2] = nanoseconds();
		for (int i = 0; i < CALLS; i++)
			ioctl(p.fd, NIOCTXSYNC, NULL);
		at[3] = nanoseconds();
		syncs[round] = (at[1] - at[0]) / CALLS;
		traps[round] = (at[2] - at[1]) / CALLS;
		plain[round] = (at[3] - at[2]) / CALLS;
	}
	qsort(syncs, ROUNDS, sizeof *syncs, by_size);
	qsort(traps, ROUNDS, sizeof *traps, by_size);
	qsort(plain, ROUNDS, sizeof *plain, by_size);
	double sync = syncs[ROUNDS / 2], trap = traps[ROUNDS / 2];
	say("cost sync=%.0f trap=%.0f preload=%.0f ratio=%.2f", sync, trap, plain[ROUNDS / 2], sync / trap);
}

/* Where nothing can be trapped the C library's calls are served as ever. */
static void library_alone(void)
{
	struct port p = open_port("vale0:a");
	CHECK(RAW(SYS_openat, AT_FDCWD, "/dev/netmap", O_RDWR, 0, 0, 0) == -ENOENT);
	CHECK(ioctl(p.fd, NIOCTXSYNC, NULL) == 0);
}

/* A program that is executed is as it would be elsewhere. */
static void makes_calls(void)
{
	CHECK(RAW3(SYS_getpid, 0, 0, 0) == getpid());
	int fd = (int)RAW(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0, 0, 0);
	CHECK(fd >= 0 && RAW3(SYS_close, fd, 0, 0) == 0);
	uint64_t none = 0;
	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, 8, 0, 0) == 0);
}

static void ports(void)
{
	struct port p = raw_port("vale0:x");
	check_port(p.fd);
}

static const struct test_case cases[] = {
	{ "both", both }, { "epoll", epoll }, { "refusals", refusals }, { "registers", registers }, { "blocked", blocked },
	{ "contexts", contexts },
	{ "own-handler", own_handler }, { "threads", threads }, { "children", children }, { "raw-vfork", raw_vfork },
	{ "raw-fork", raw_fork }, { "small-stacks", small_stacks },
	{ "signals", signals }, { "jumps", jumps }, { "cost", cost }, { "ports", ports }, { "makes-calls", makes_calls },
	{ "library-alone", library_alone },
};

int main(int argc, char **argv)
{
	/* raw execute PROGRAM ARGUMENTS...: with a port open, that of a call of our own and the C library's alike */
	if (argc > 2 && strcmp(argv[1], "execute") == 0) {
		struct port p = raw_port("vale0:a");
		check_port(p.fd);
		for (int way = 0; way < 2; way++) {
			int status;
			pid_t child = fork();
			CHECK(child >= 0);
			if (child == 0 && way == 0)
				execv(argv[2], argv + 2);
			if (child == 0)
				RAW3(SYS_execve, argv[2], argv + 2, environ);
			CHECK(waitpid(child, &status, 0) == child);
			if (status != 0)
				say("way %d: status %x", way, status);
			CHECK(status == 0);
		}
		check_port(p.fd);
		say("ok execute");
		return 0;
	}
	signal(SIGPIPE, nothing);
	return run_cases(argc, argv, cases, COUNT(cases));
}
