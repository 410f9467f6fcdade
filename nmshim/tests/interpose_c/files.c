/* What a device's descriptor is, apart from waiting: sections of the interposition test. */
#include "fake.h"
#include <sys/sysmacros.h>

static void facts(void)
{
	int fd = unbound(O_RDWR), n = 1; char b[64]; struct stat st, by_name; struct statx sx;
	struct iovec v = { b, sizeof b };
	FAILS(read(fd, b, 64), EINVAL); FAILS(read(fd, b, 0), EINVAL); FAILS(write(fd, b, 64), EINVAL);
	FAILS(pread(fd, b, 64, 0), EINVAL); FAILS(pwrite(fd, b, 64, 0), EINVAL); FAILS(readv(fd, &v, 1), EINVAL);
	FAILS(writev(fd, &v, 1), EINVAL);
	FAILS(lseek(fd, 0, SEEK_SET), ESPIPE); FAILS(fsync(fd), EINVAL); FAILS(fdatasync(fd), EINVAL);
	FAILS(ftruncate(fd, 0), EINVAL);
	FAILS(ioctl(fd, 0x1234, 0), EOPNOTSUPP); FAILS(ioctl(fd, 0x5401, b), EOPNOTSUPP);
	IS(ioctl(fd, 0x5421, &n), 0); IS(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	IS(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR); IS(fcntl(fd, F_GETFD), 0);
	IS(fcntl(fd, F_SETFL, O_RDWR), 0); IS(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	IS(fstat(fd, &st), 0); CHECK(S_ISCHR(st.st_mode)); IS(st.st_size, 0);
	IS(stat("/dev/netmap", &by_name), 0);
	CHECK(by_name.st_rdev == st.st_rdev && by_name.st_ino == st.st_ino && by_name.st_dev == st.st_dev &&
		major(st.st_rdev) == 10);
	IS(lstat("/dev/netmap", &by_name), 0); IS(fstatat(AT_FDCWD, "/dev/netmap", &by_name, 0), 0);
	IS(fstatat(fd, "", &by_name, AT_EMPTY_PATH), 0); CHECK(S_ISCHR(by_name.st_mode));
	IS(statx(AT_FDCWD, "/dev/netmap", 0, STATX_ALL, &sx), 0); CHECK(S_ISCHR(sx.stx_mode));
	IS(makedev(sx.stx_rdev_major, sx.stx_rdev_minor), st.st_rdev);
	IS(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &sx), 0); CHECK(S_ISCHR(sx.stx_mode));
	IS(access("/dev/netmap", R_OK | W_OK), 0); FAILS(access("/dev/netmap", X_OK), EACCES);
	FAILS(access("/dev/netmap", 64), EINVAL); IS(faccessat(AT_FDCWD, "/dev/netmap", F_OK, 0), 0);
	IS(euidaccess("/dev/netmap", R_OK), 0); IS(eaccess("/dev/netmap", R_OK), 0);
	FAILS(stat("/dev/netmapx", &st), ENOENT); FAILS(stat("/dev/netma", &st), ENOENT);
	FAILS(access("/dev/netmap/x", F_OK), ENOENT);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
	IS(poll1(fd, 0, 0), POLLERR);
	FAILS(recvmsg(fd, &(struct msghdr){ 0 }, 0), ENOTSOCK);
	IS(close(fd), 0); FAILS(close(fd), EBADF); FAILS(fcntl(fd, F_GETFD), EBADF);
}
static void opening(void)
{
	int fd, dir = open("/", O_RDONLY | O_DIRECTORY);
	struct stat st; const int ways[] = { O_RDONLY, O_WRONLY, O_RDWR };
	for (unsigned i = 0; i < 3; i++) { fd = unbound(ways[i]); IS(fcntl(fd, F_GETFL) & O_ACCMODE, ways[i]); close(fd); }
	fd = unbound(O_RDWR | O_CLOEXEC | O_NONBLOCK); IS(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK); close(fd);
	fd = openat(dir, "/dev/netmap", O_RDWR); CHECK(fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode)); close(fd);
	fd = open64("/dev/netmap", O_RDWR); CHECK(fd >= 0); close(fd);
	fd = creat("/dev/netmap", 0600); CHECK(fd >= 0); IS(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY); close(fd);
	fd = syscall(SYS_openat, AT_FDCWD, "/dev/netmap", O_RDWR);
	CHECK(fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode));
	IS(syscall(SYS_close, fd), 0);
	FAILS(open("/dev/netmap", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	FAILS(open("/dev/netmap", O_RDONLY | O_DIRECTORY), ENOTDIR);
	fd = unbound(O_RDONLY); act(fd, BIND, 0);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	char c; FAILS(write(fd, &c, 1), EBADF); FAILS(read(fd, &c, 1), EINVAL);
	CHECK(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 100) == MAP_FAILED && errno == EINVAL);
	close(fd); close(dir);
	/* parameters of the module */
	const char *name = "/sys/module/netmap/parameters/buf_size"; char b[32] = "";
	fd = open(name, O_RDONLY); IS(read(fd, b, sizeof b), 5); CHECK(!strcmp(b, "2048\n"));
	FAILS(write(fd, b, 1), EPERM); close(fd);
	FILE *f = fopen(name, "r"); unsigned v = 0; CHECK(f && fscanf(f, "%u", &v) == 1 && v == 2048); if (f) fclose(f);
	IS(stat(name, &st), 0); CHECK(S_ISREG(st.st_mode)); IS(stat("/sys/module/netmap", &st), 0);
	CHECK(S_ISDIR(st.st_mode)); IS(access(name, R_OK), 0);
	FAILS(open("/sys/module/netmap/parameters/nonsense", O_RDONLY), ENOENT);
	CHECK(!fopen("/sys/module/netmap/parameters/nonsense", "r"));
	/* a panic in the driver is an error of the call */
	fd = device(); FAILS(act(fd, PANIC, 0), EIO); IS(act(fd, PUSH, 1), 0); IS(poll1(fd, POLLIN, 0), POLLIN); close(fd);
}
static void descriptors(void)
{
	int fd = device(), d, e; struct state *s = page(fd); struct stat st;
	d = dup(fd); IS(act(d, PUSH, 1), 0); IS(poll1(fd, POLLIN, 0), POLLIN);
	IS(close(fd), 0); IS(s->last_closes, 0); IS(poll1(d, POLLIN, 0), POLLIN);
	IS(dup2(d, 100), 100); IS(dup3(d, 101, O_CLOEXEC), 101); e = fcntl(d, F_DUPFD, 200); IS(e, 200);
	e = fcntl(d, F_DUPFD_CLOEXEC, 300); IS(e, 300);
	IS(fcntl(101, F_GETFD), FD_CLOEXEC); IS(fcntl(300, F_GETFD), FD_CLOEXEC);
	const int all[] = { 100, 101, 200, 300 };
	for (unsigned i = 0; i < 4; i++) { IS(poll1(all[i], POLLIN, 0), POLLIN); IS(fstat(all[i], &st), 0);
		CHECK(S_ISCHR(st.st_mode)); }
	close(d); close(100); close(101); close(200); IS(s->last_closes, 0); close(300); IS(s->last_closes, 1);
	/* an ordinary one takes a device's number, and the other way round */
	int p[2]; IS(pipe(p), 0); fd = device(); struct state *s2 = page(fd);
	IS(dup2(p[0], fd), fd); IS(s2->last_closes, 1); IS(fstat(fd, &st), 0); CHECK(S_ISFIFO(st.st_mode));
	IS(poll1(fd, POLLIN, 0), 0); IS(write(p[1], "x", 1), 1); IS(poll1(fd, POLLIN, 0), POLLIN);
	d = device(); act(d, PUSH, 1); IS(dup2(d, fd), fd); IS(poll1(fd, POLLIN, 0), POLLIN); FAILS(read(fd, p, 1), EINVAL);
	FAILS(dup2(999, fd), EBADF); IS(poll1(fd, POLLIN, 0), POLLIN); IS(dup2(fd, fd), fd);
	/* the driver's own stay */
	FAILS(close(700), EBADF); FAILS(dup2(p[0], 700), EBADF);
	/* close everything, three ways */
	for (int way = 0; way < 3; way++) {
		int f = device(); struct state *t = page(f); int q = dup(f);
		if (way == 0) closefrom(3);
		else if (way == 1) IS(close_range(3, ~0U, 0), 0);
		else for (int i = 3; i < 1024; i++) close(i);
		IS(t->last_closes, 1); FAILS(fcntl(f, F_GETFD), EBADF); FAILS(fcntl(q, F_GETFD), EBADF);
		IS(fcntl(700, F_GETFD), FD_CLOEXEC);
		int r = open("/dev/null", O_RDONLY); IS(r, 3); IS(poll1(r, POLLIN, 0), POLLIN);
		f = device(); act(f, PUSH, 1); IS(poll1(f, POLLIN, 0), POLLIN); close(f); close(r);
	}
	fd = device(); IS(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), 0); IS(fcntl(fd, F_GETFD), FD_CLOEXEC);
	act(fd, PUSH, 1); IS(poll1(fd, POLLIN, 0), POLLIN);
	/* many times: objects are reused, numbers come back */
	for (int i = 0; i < 300; i++) { d = device(); IS(poll1(d, POLLIN, 0), 0); act(d, PUSH, 1);
		IS(poll1(d, POLLIN, 0), POLLIN); close(d); }
	close(fd);
	/* numbers beyond the first table */
	fd = device(); d = fcntl(fd, F_DUPFD, 5000);
	if (d >= 5000) { act(d, PUSH, 1); IS(poll1(d, POLLIN, 0), POLLIN); close(d); } close(fd);
}
static void raw_calls(void)
{
	int fd = syscall(SYS_openat, AT_FDCWD, "/dev/netmap", O_RDWR); char b[8];
	IS(syscall(SYS_ioctl, fd, BIND, 0), 0);
	struct state *s = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(s != MAP_FAILED && s->bound);
	FAILS(syscall(SYS_read, fd, b, 8), EINVAL); FAILS(syscall(SYS_lseek, fd, 0, 0), ESPIPE);
	struct pollfd p = { fd, POLLIN, 0 }; struct timespec z = { 0, 0 }; fd_set r;
	int ep = syscall(SYS_epoll_create1, 0); struct epoll_event e = { EPOLLIN, { .u64 = 7 } };
	IS(syscall(SYS_ioctl, fd, PUSH, 1), 0); IS(syscall(SYS_ppoll, &p, 1, &z, NULL, 8), 1); IS(p.revents, POLLIN);
	FD_ZERO(&r); FD_SET(fd, &r); IS(syscall(SYS_pselect6, fd + 1, &r, NULL, NULL, &z, NULL), 1); CHECK(FD_ISSET(fd, &r));
	IS(syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd, &e), 0); e.data.u64 = 0;
	IS(syscall(SYS_epoll_pwait, ep, &e, 1, 0, NULL, 8), 1); IS(e.data.u64, 7);
	int d = syscall(SYS_dup, fd); p.fd = d; IS(syscall(SYS_ppoll, &p, 1, &z, NULL, 8), 1);
	IS(syscall(SYS_fcntl, fd, F_GETFL) & O_ACCMODE, O_RDWR);
	IS(syscall(SYS_close, d), 0); IS(syscall(SYS_close_range, fd, fd, 0), 0); IS(s->last_closes, 1);
	IS(syscall(SYS_getpid), getpid()); FAILS(syscall(SYS_close, -1), EBADF);
}
static void processes(const char *self)
{
	int fd = device(), status; struct state *s = page(fd); struct stat st;
	/* vfork: the child's closes are not the parent's */
	pid_t c = vfork(); if (c == 0) { close(fd); close_range(3, ~0U, 0); _exit(0); }
	waitpid(c, &status, 0); IS(s->last_closes, 0); act(fd, PUSH, 1); IS(poll1(fd, POLLIN, 0), POLLIN); act(fd, TAKE, 1);
	/* fork: both have it; the child's close is not the last for the parent */
	c = fork(); if (c == 0) {
		IS(act(fd, FORKED, 0), 1); IS(poll1(fd, POLLIN, 0), 0);
		IS(poll1(fd, POLLIN, 3000), POLLIN); close(fd); _exit(failures != 0); }
	while (!s->armed) usleep(200);
	act(fd, PUSH, 1); waitpid(c, &status, 0); IS(status, 0); IS(poll1(fd, POLLIN, 0), POLLIN); act(fd, TAKE, 1);
	/* exec: the new program knows nothing but the number */
	c = fork(); if (c == 0) { char n[12]; snprintf(n, sizeof n, "%d", fd);
		execl(self, self, "inherited", n, (char *)NULL); _exit(99); }
	while (!s->armed) usleep(200);
	act(fd, PUSH, 1); waitpid(c, &status, 0); IS(status, 0); act(fd, TAKE, 1);
	/* a message: sent as it is, known at its first use */
	int pair[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	char ctl[CMSG_SPACE(2 * sizeof(int))]; struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m); h->cmsg_level = SOL_SOCKET; h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(2 * sizeof(int)); memcpy(CMSG_DATA(h), (int[2]){ pair[0], fd }, 2 * sizeof(int));
	IS(sendmsg(pair[0], &m, 0), 1);
	c = fork(); if (c == 0) {
		char in[8]; int got[2]; struct iovec w = { in, 8 }; close(fd); memset(ctl, 0, sizeof ctl);
		struct msghdr r = { .msg_iov = &w, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl };
		IS(recvmsg(pair[1], &r, 0), 1); memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&r)), sizeof got);
		IS(fstat(got[1], &st), 0); CHECK(S_ISCHR(st.st_mode)); IS(fstat(got[0], &st), 0); CHECK(S_ISSOCK(st.st_mode));
		IS(poll1(got[1], POLLIN, 3000), POLLIN); IS(dup(got[1]) >= 0, 1); _exit(failures != 0); }
	while (!s->armed) usleep(200);
	act(fd, PUSH, 1); waitpid(c, &status, 0); IS(status, 0);
	close(fd);
}
static void inherited(int fd)
{
	struct stat st; int d = dup(fd), ep = epoll_create1(0); struct epoll_event e;
	struct pollfd p = { fd, POLLIN, 0 }; IS(poll(&p, 1, 0), 0);
	IS(fstat(d, &st), 0); CHECK(S_ISCHR(st.st_mode));
	IS(watch(ep, fd, EPOLLIN, 5), 0); IS(epoll_wait(ep, &e, 1, 3000), 1); IS(e.data.u64, 5);
	struct state *s = page(fd); IS(s->rx, 1);
}
/* finding data: whoever traces sees nothing between the two writes */
static void quiet(void)
{
	int fd = device(), ep = epoll_create1(0); struct pollfd p[2] = { { fd, POLLIN, 0 }, { fd, POLLOUT, 0 } };
	struct epoll_event e; fd_set r; struct timeval tv = { 1, 0 };
	act(fd, PUSH, 1); watch(ep, fd, EPOLLIN, 1); epoll_wait(ep, &e, 1, -1); write(2, "begin\n", 6);
	for (int i = 0; i < 100; i++) { FD_ZERO(&r); FD_SET(fd, &r);
		failures += poll(p, 2, -1) != 1 || epoll_wait(ep, &e, 1, -1) != 1 || select(fd + 1, &r, NULL, NULL, &tv) != 1 ||
		poll(p + 1, 1, 0) != 0 || act(fd, PUSH, 1) != 0; }
	write(2, "end\n", 4);
}
int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "facts")) facts();
	else if (!strcmp(what, "opening")) opening();
	else if (!strcmp(what, "descriptors")) descriptors();
	else if (!strcmp(what, "raw_calls")) raw_calls();
	else if (!strcmp(what, "processes")) processes(argv[0]);
	else if (!strcmp(what, "quiet")) quiet();
	else if (!strcmp(what, "inherited")) inherited(atoi(argv[2]));
	else return 2;
	return failures != 0;
}
