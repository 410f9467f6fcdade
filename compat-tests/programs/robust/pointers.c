/* Pointers that are bad, given to calls on a device, on other descriptors beside one, and in programs that have none:
 * EFAULT, and the program lives. One case per run. */
#include "robust.h"

#include <sys/stat.h>
#include <sys/syscall.h>

extern char **environ;

static int epfd, device_fd, plain_fd;
static void *bad_pointers[4];
static void *volatile bad;

#define EFAULT_FROM(call) do { errno = 0; \
	if ((long)(call) != -1 || errno != EFAULT) fail(__FILE__, __LINE__, #call); } while (0)

/* Calls that mix a good descriptor with a bad pointer; `fd` is a device or an ordinary file. */
static void faults_of_descriptor(int fd)
{
	struct pollfd entry = { fd, POLLIN | POLLOUT, 0 };
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	struct timespec second = { 1, 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	EFAULT_FROM(poll(bad, 1, 0));
	EFAULT_FROM(ppoll(bad, 1, NULL, NULL));
	EFAULT_FROM(ppoll(&entry, 1, &second, bad));
	EFAULT_FROM(syscall(SYS_ppoll, bad, 1, NULL, NULL, 8));
	EFAULT_FROM(syscall(SYS_pselect6, fd + 1, &set, NULL, NULL, NULL, bad));
	EFAULT_FROM(select(fd + 1, bad, NULL, NULL, NULL));
	EFAULT_FROM(select(fd + 1, &set, bad, NULL, NULL));
	EFAULT_FROM(pselect(fd + 1, &set, NULL, NULL, &second, bad));
	EFAULT_FROM(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, bad));
	EFAULT_FROM(epoll_ctl(epfd, EPOLL_CTL_MOD, fd, bad));
	if (fd == device_fd) {
		/* of other descriptors libc itself reads these */
		EFAULT_FROM(ppoll(&entry, 1, bad, NULL));
		EFAULT_FROM(select(fd + 1, &set, NULL, NULL, bad));
		EFAULT_FROM(pselect(fd + 1, &set, NULL, NULL, bad, NULL));
		CHECK(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) == 0);
		EFAULT_FROM(epoll_wait(epfd, bad, 1, 100));
		EFAULT_FROM(epoll_pwait(epfd, &event, 1, 100, bad));
		/* what could not be told is told by the next one */
		CHECK(epoll_wait(epfd, &event, 1, 5000) == 1);
		CHECK(epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL) == 0);
		EFAULT_FROM(ioctl(fd, NIOCREGIF, bad));
		EFAULT_FROM(ioctl(fd, NIOCCTRL, bad));
		EFAULT_FROM(ioctl(fd, NIOCGINFO, bad));
	}
	EFAULT_FROM(ioctl(fd, FIONBIO, bad));
	EFAULT_FROM(fstat(fd, bad));
}

static void faults_of_names(void)
{
	struct stat s;

	EFAULT_FROM(open(bad, O_RDWR));
	EFAULT_FROM(open(bad, O_RDWR | O_CREAT, 0600));
	EFAULT_FROM(openat(AT_FDCWD, bad, O_RDONLY));
	EFAULT_FROM(stat(bad, &s));
	EFAULT_FROM(lstat(bad, &s));
	EFAULT_FROM(stat("/dev/null", bad));
	EFAULT_FROM(fstatat(AT_FDCWD, bad, &s, 0));
	EFAULT_FROM(access(bad, R_OK));
	EFAULT_FROM(chmod(bad, 0600));
	EFAULT_FROM(readlink(bad, (char *)&s, sizeof s));
	errno = 0;
	CHECK(fopen(bad, "r") == NULL && errno == EFAULT);
	errno = 0;
	CHECK(fopen(bad, "w") == NULL && errno == EFAULT);
	EFAULT_FROM(execv(bad, (char *[]){ "true", NULL }));
	EFAULT_FROM(execve(bad, (char *[]){ "true", NULL }, environ));
	EFAULT_FROM(execve("/bin/true", bad, environ));
	EFAULT_FROM(execve("/bin/true", (char *[]){ "true", NULL }, bad));
}

static void with_all_pointers(void (*body)(void))
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(pages != MAP_FAILED && mprotect(pages + 4096, 4096, PROT_NONE) == 0);
	bad_pointers[0] = (void *)8;
	bad_pointers[1] = pages + 4096;
	bad_pointers[2] = (void *)0x7000deadbeef0000; /* no address at all */
	bad_pointers[3] = (void *)(UINTPTR_MAX - 4095);
	for (int i = 0; i < 4; i++) {
		bad = bad_pointers[i];
		body();
	}
}

static void on_device(void)
{
	faults_of_descriptor(device_fd);
	faults_of_descriptor(plain_fd);
	faults_of_names();
	struct stat s;
	EFAULT_FROM(stat("/dev/netmap", bad));
	EFAULT_FROM(syscall(SYS_statx, AT_FDCWD, "/dev/netmap", 0, 0x7ff, bad));
	(void)s;
}

static void without_device(void)
{
	int pipes[2];

	CHECK(pipe(pipes) == 0);
	epfd = epoll_create1(0);
	faults_of_descriptor(pipes[1]);
	faults_of_names();
	/* a set in a set is looked at even without the device */
	int inner = epoll_create1(0);
	EFAULT_FROM(epoll_ctl(epfd, EPOLL_CTL_ADD, inner, bad));
	close(inner);
	close(epfd);
	close(pipes[0]);
	close(pipes[1]);
}

static void bad_pointers_without_the_device(void)
{
	device_fd = -1;
	with_all_pointers(without_device);
}

static void bad_pointers_with_the_device(void)
{
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	struct seen seen = { 0 };
	uint64_t seq = 0;
	device_fd = a.fd;
	int pipes[2];
	CHECK(pipe(pipes) == 0);
	plain_fd = pipes[1];
	epfd = epoll_create1(0);
	with_all_pointers(on_device);
	/* a page that may be read only: the answer has nowhere to go */
	struct pollfd *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*page = (struct pollfd){ a.fd, POLLOUT, 0 };
	CHECK(mprotect(page, 4096, PROT_READ) == 0);
	EFAULT_FROM(poll(page, 1, 0));
	check_path(&b, &a, 1, &seq, &seen);
}

/* Paths that the kernel refuses before it has read them to their end. */
static void paths_without_an_end(void)
{
	struct port a = open_port("vale0:a");
	struct stat s;
	size_t len = 2 * 4096;
	char *pages = mmap(NULL, len + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(pages != MAP_FAILED && mprotect(pages + len, 4096, PROT_NONE) == 0);
	memset(pages, 'x', len);
	memcpy(pages, "/sys/module/netmap/", strlen("/sys/module/netmap/"));
	CHECK(stat(pages, &s) == -1 && errno == ENAMETOOLONG);
	CHECK(open(pages, O_RDWR) == -1 && errno == ENAMETOOLONG);
	CHECK(open(pages, O_RDWR | O_CREAT, 0600) == -1 && errno == ENAMETOOLONG);
	CHECK(access(pages, R_OK) == -1 && errno == ENAMETOOLONG);
	CHECK(mknod(pages, S_IFCHR | 0600, 0) == -1 && errno == ENAMETOOLONG);
	CHECK(fopen(pages, "r") == NULL && errno == ENAMETOOLONG);
	CHECK(fopen(pages, "w") == NULL && errno == ENAMETOOLONG);
	/* flags that are wrong, and the pointer is not looked at */
	bad = pages + len;
	CHECK(syscall(SYS_statx, AT_FDCWD, bad, 0, 0x80000000u, &s) == -1 && errno == EINVAL);
	CHECK(access(bad, 0x100) == -1 && errno == EINVAL);
	CHECK(open(bad, O_TMPFILE & ~O_DIRECTORY) == -1);
	close_port(&a);
}

/* A program that ignores faults: a bad pointer is an error, a signal that is sent is ignored, a fault ends it. */
static void faults_are_ignored(void)
{
	struct sigaction old;
	int before_device = signal(SIGSEGV, SIG_IGN) == SIG_DFL && signal(SIGBUS, SIG_IGN) == SIG_DFL;
	CHECK(before_device);
	for (int round = 0; round < 2; round++) {
		struct port a = open_port("vale0:a");
		device_fd = a.fd;
		bad = (void *)8;
		EFAULT_FROM(poll(bad, 1, 0));
		EFAULT_FROM(ioctl(a.fd, NIOCCTRL, bad));
		EFAULT_FROM(ioctl(a.fd, NIOCREGIF, bad));
		EFAULT_FROM(fstat(a.fd, bad));
		CHECK(sigaction(SIGSEGV, NULL, &old) == 0 && old.sa_handler == SIG_IGN);
		CHECK(raise(SIGSEGV) == 0 && kill(getpid(), SIGBUS) == 0);
		pid_t child = fork();
		int status;
		if (child == 0) {
			*(volatile int *)bad = 1;
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		close_port(&a);
		/* the second time after the device is in use */
		CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN && signal(SIGSEGV, SIG_IGN) == SIG_DFL);
	}
}

/* ---- */

static const struct test_case cases[] = {
	{ "without-the-device", bad_pointers_without_the_device },
	{ "with-the-device", bad_pointers_with_the_device },
	{ "paths-without-an-end", paths_without_an_end },
	{ "ignored-faults", faults_are_ignored },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
