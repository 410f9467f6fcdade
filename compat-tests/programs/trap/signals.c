/*
 * Handlers, masks, stacks and contexts of a program whose system calls are trapped: they are the program's own.
 */
#include "raw.h"
#include "registers.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

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

static const struct test_case cases[] = {
	{ "blocked", blocked }, { "contexts", contexts }, { "own-handler", own_handler },
	{ "small-stacks", small_stacks }, { "signals", signals }, { "jumps", jumps },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
