/*
 * The module's parameters as a program sees them: `parameters CASE`, or `parameters --list`. A case
 * ends with "ok CASE".
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libnetmap.h>

#include "../cases.h"

static char sentence[1024];

static void
fail(int line, const char *what)
{
	printf("FAILED %s:%d: %s (errno %d: %s); last sentence: %s\n", __FILE__, line, what, errno,
	    strerror(errno), sentence);
	exit(1);
}

#define CHECK(what)	do { if (!(what)) fail(__LINE__, #what); } while (0)
#define FAILS(what, code)	do { errno = 0; CHECK((what) == -1 && errno == (code)); } while (0)

static void
remember(struct nmctx *ctx, const char *text)
{
	(void)ctx;
	snprintf(sentence, sizeof(sentence), "%s", text);
}

static const char *
path(const char *name)
{
	static char text[2][128];
	static int which;

	which = !which;
	snprintf(text[which], sizeof(text[which]), "/sys/module/netmap/parameters/%s", name);
	return text[which];
}

/* The text of a parameter, read with read(). */
static const char *
text_of(const char *name)
{
	static char text[64];
	int fd = open(path(name), O_RDONLY);
	ssize_t n;

	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	CHECK(n > 1 && text[n - 1] == '\n');
	text[n - 1] = '\0';
	CHECK(read(fd, text + n, 1) == 0);
	close(fd);
	return text;
}

static int
is(const char *name, const char *text)
{
	return strcmp(text_of(name), text) == 0;
}

/* Writes a parameter with write(): 0 or an errno. */
static int
set(const char *name, const char *text)
{
	int fd = open(path(name), O_WRONLY | O_TRUNC | O_CREAT, 0644), e = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		e = errno;
	CHECK(close(fd) == 0);
	return e;
}

/* ---------------------------------------------------------------- files */

static void
case_descriptors(void)
{
	struct stat st;
	struct iovec iov[2] = { { (void *)"12", 2 }, { (void *)"34\n", 3 } };
	struct pollfd pfd;
	char b[32] = "";
	int fd, d;

	CHECK(is("buf_size", "2048") && is("ptnet_gso", "Y") && is("no_pendintr", "1"));
	CHECK(set("verbose", "1") == 0 && is("verbose", "1"));
	CHECK(set("verbose", "0x10\n") == 0 && is("verbose", "16"));
	CHECK(set("verbose", "-5\n") == 0 && is("verbose", "-5"));
	CHECK(set("verbose", "five") == EINVAL && set("verbose", "5 ") == EINVAL);
	CHECK(set("verbose", "2147483648") == ERANGE && is("verbose", "-5"));
	CHECK(set("ptnet_gso", "n\n") == 0 && is("ptnet_gso", "N"));
	CHECK(set("buf_size", "-1") == 0 && is("buf_size", "-1"));
	CHECK(set("max_bridges", "9") == EACCES && set("buf_curr_size", "9") == EACCES);
	FAILS(open(path("max_bridges"), O_RDWR), EACCES);
	FAILS(open(path("nonsense"), O_RDONLY), ENOENT);

	CHECK(stat(path("verbose"), &st) == 0 && st.st_mode == (S_IFREG | 0644) && st.st_size == 4096);
	CHECK(stat(path("max_bridges"), &st) == 0 && st.st_mode == (S_IFREG | 0444));
	CHECK(access(path("verbose"), R_OK | W_OK) == 0);
	FAILS(access(path("max_bridges"), W_OK), EACCES);

	fd = open(path("verbose"), O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_mode == (S_IFREG | 0644));
	CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(read(fd, b, sizeof(b)) == 3 && memcmp(b, "-5\n", 3) == 0 && read(fd, b, 1) == 0);
	CHECK(pread(fd, b, sizeof(b), 1) == 2 && memcmp(b, "5\n", 2) == 0);
	CHECK(writev(fd, iov, 2) == 5 && is("verbose", "1234"));
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && read(fd, b, 2) == 2 && read(fd, b + 2, 9) == 3);
	CHECK(memcmp(b, "1234\n", 5) == 0 && lseek(fd, 0, SEEK_CUR) == 5);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	CHECK(pwrite(fd, "8", 1, 0) == 1 && is("verbose", "8") && write(fd, "", 0) == 0);
	CHECK(write(fd, "9", 2) == 2 && is("verbose", "9"));	/* its NUL does not count */
	FAILS(write(fd, "x", 1), EINVAL);
	CHECK(fsync(fd) == 0 && ftruncate(fd, 0) == 0 && is("verbose", "9"));
	FAILS(ioctl(fd, NIOCTXSYNC), ENOTTY);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == ENODEV);
	pfd.fd = fd;
	pfd.events = POLLIN | POLLOUT;
	CHECK(poll(&pfd, 1, -1) == 1 && pfd.revents == (POLLIN | POLLOUT));
	d = dup(fd);
	CHECK(d >= 0 && close(fd) == 0 && write(d, "10", 2) == 2 && is("verbose", "10"));
	CHECK(close(d) == 0);
	FAILS(write(d, "11", 2), EBADF);

	fd = open(path("verbose"), O_WRONLY);
	FAILS(read(fd, b, 1), EBADF);
	CHECK(close(fd) == 0 && is("verbose", "10"));
}

static void
case_streams(void)
{
	FILE *f = fopen(path("verbose"), "w");
	char line[32];
	int n = 0;

	CHECK(f != NULL && fprintf(f, "%d\n", 21) == 3 && fclose(f) == 0 && is("verbose", "21"));
	f = fopen(path("verbose"), "r");
	CHECK(f != NULL && fscanf(f, "%d", &n) == 1 && n == 21 && fclose(f) == 0);
	f = fopen(path("verbose"), "w");
	CHECK(f != NULL && fputs("many", f) >= 0);
	errno = 0;
	CHECK(fclose(f) == EOF && errno == EINVAL && is("verbose", "21"));
	f = fopen(path("verbose"), "we");
	CHECK(f != NULL && fputs("3", f) >= 0 && fflush(f) == 0 && is("verbose", "3"));
	CHECK(fputs("4", f) >= 0 && fclose(f) == 0 && is("verbose", "4"));
	f = fopen(path("verbose"), "r+");
	CHECK(f != NULL && fgets(line, sizeof(line), f) != NULL && strcmp(line, "4\n") == 0);
	CHECK(fseek(f, 0, SEEK_SET) == 0 && fputs("5\n", f) >= 0 && fclose(f) == 0);
	CHECK(is("verbose", "5"));
	f = fopen(path("verbose"), "a");
	CHECK(f != NULL && fputs("6", f) >= 0 && fclose(f) == 0 && is("verbose", "6"));
	errno = 0;
	CHECK(fopen(path("max_bridges"), "w") == NULL && errno == EACCES);
	CHECK(fopen(path("verbose"), "q") == NULL && errno == EINVAL);
}

/* Children have the descriptor, programs have it after exec, where nobody knows what it is. */
static void
case_children(void)
{
	int fd = open(path("verbose"), O_WRONLY), status;
	pid_t pid = fork();

	CHECK(fd >= 0 && pid >= 0);
	if (pid == 0)
		_exit(write(fd, "31", 2) == 2 ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0 && is("verbose", "31"));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(fd, 1);
		execlp("echo", "echo", "32", (char *)NULL);
		_exit(9);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0 && is("verbose", "32"));
	CHECK(write(fd, "33", 2) == 2 && is("verbose", "33"));
	/* what nobody intercepts, stdio on a descriptor, arrives before the next call */
	{
		FILE *f = fdopen(fd, "w");

		CHECK(f != NULL && fputs("34\n", f) >= 0 && fflush(f) == 0 && is("verbose", "34"));
		CHECK(fputs("nonsense\n", f) >= 0 && fflush(f) == 0 && is("verbose", "34"));
		CHECK(fputs("35\n", f) >= 0 && fclose(f) == 0 && is("verbose", "35"));
	}
}

/* ---------------------------------------------------------------- what they do */

static unsigned char packet[60];

static unsigned
received(struct nmport_d *d)
{
	struct netmap_ring *ring = NETMAP_RXRING(d->nifp, 0);
	unsigned n;

	CHECK(ioctl(d->fd, NIOCRXSYNC) == 0);
	n = nm_ring_space(ring);
	ring->head = ring->cur = ring->tail;
	CHECK(ioctl(d->fd, NIOCRXSYNC) == 0);
	return n;
}

static void
case_batch(void)
{
	struct nmport_d *a = nmport_open("vale0:a"), *b = nmport_open("vale0:b");
	static const char *const sizes[] = { "1", "7", "1024", "5000" };
	unsigned i, k;

	CHECK(a != NULL && b != NULL);
	memset(packet, 0xff, 6);
	for (i = 0; i < 4; i++) {
		CHECK(set("bridge_batch", sizes[i]) == 0);
		for (k = 0; k < 100; k++) {
			packet[11] = (unsigned char)(k % 3);	/* from several addresses */
			CHECK(nmport_inject(a, packet, sizeof(packet)) == sizeof(packet));
		}
		CHECK(ioctl(a->fd, NIOCTXSYNC) == 0 && received(b) == 100);
	}
	CHECK(set("bridge_batch", "0") == 0);
	CHECK(nmport_inject(a, packet, sizeof(packet)) == sizeof(packet));
	CHECK(ioctl(a->fd, NIOCTXSYNC) == 0 && received(b) == 0);
	CHECK(nm_ring_space(NETMAP_TXRING(a->nifp, 0)) == 1023);
	CHECK(set("bridge_batch", "1024") == 0);
	CHECK(nmport_inject(a, packet, sizeof(packet)) == sizeof(packet));
	CHECK(ioctl(a->fd, NIOCTXSYNC) == 0 && received(b) == 1);
	nmport_close(a);
	nmport_close(b);
}

static void
case_timestamps(void)
{
	struct nmport_d *d = nmport_open("vale0:a");
	struct netmap_ring *ring;

	CHECK(d != NULL);
	ring = NETMAP_RXRING(d->nifp, 0);
	CHECK(ioctl(d->fd, NIOCRXSYNC) == 0 && ring->ts.tv_sec > 1000000000);
	ring->ts.tv_sec = 5;
	CHECK(set("no_timestamp", "1") == 0);
	CHECK(ioctl(d->fd, NIOCRXSYNC) == 0 && ring->ts.tv_sec == 5);
	ring->flags |= NR_TIMESTAMP;
	CHECK(ioctl(d->fd, NIOCRXSYNC) == 0 && ring->ts.tv_sec > 1000000000);
	nmport_close(d);
}

static void
case_sizes(void)
{
	struct nmport_d *d = nmport_open("vale0:a@1"), *e;

	CHECK(d != NULL && is("buf_curr_size", "2048") && is("ring_curr_num", "200"));
	CHECK(set("buf_size", "4096") == 0 && set("buf_num", "9000") == 0 && set("ring_num", "50") == 0);
	e = nmport_open("vale0:b@1");
	CHECK(e != NULL && NETMAP_TXRING(e->nifp, 0)->nr_buf_size == 2048);
	nmport_close(d);
	nmport_close(e);
	CHECK(is("buf_size", "4096") && is("buf_curr_size", "2048"));
	d = nmport_open("vale0:a@1");
	CHECK(d != NULL && NETMAP_TXRING(d->nifp, 0)->nr_buf_size == 4096);
	CHECK(NETMAP_TXRING(d->nifp, 0)->slot[0].len == 4096);
	CHECK(is("buf_curr_size", "4096") && is("buf_curr_num", "9000") && is("ring_curr_num", "50"));
	e = nmport_open("vale0:b");
	CHECK(e != NULL && NETMAP_TXRING(e->nifp, 0)->nr_buf_size == 2048);
	nmport_close(e);
	CHECK(set("priv_buf_size", "1024") == 0);
	e = nmport_open("vale0:b");
	CHECK(e != NULL && NETMAP_TXRING(e->nifp, 0)->nr_buf_size == 1024);
	nmport_close(e);
	nmport_close(d);

	/* sizes that will not do are stored, and refused where they are needed */
	CHECK(set("buf_num", "3") == 0);
	CHECK(nmport_open("vale0:a@1") == NULL && errno == EINVAL);
	CHECK(set("buf_num", "100") == 0);
	CHECK(nmport_open("vale0:a@1") == NULL && errno == ENOMEM);
	CHECK(set("buf_num", "9000") == 0 && set("ring_size", "1024") == 0);
	CHECK(nmport_open("vale0:a@1") == NULL && errno == ENOMEM);
	CHECK(set("ring_size", "36864") == 0);
	d = nmport_open("vale0:a@1");
	CHECK(d != NULL);
	nmport_close(d);
}

static const struct test_case cases[] = {
	{ "descriptors", case_descriptors },
	{ "streams", case_streams },
	{ "children", case_children },
	{ "batch", case_batch },
	{ "timestamps", case_timestamps },
	{ "sizes", case_sizes },
};

int
main(int argc, char **argv)
{
	nmctx_get()->error = remember;
	return run_cases(argc, argv, cases, COUNT(cases));
}
