/*
 * What keeps a port that is closed but mapped: every way to take pages away, and descriptors, forks, threads and
 * handlers around it.
 */
#include "robust.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#define PAGE 4096ul

/* Opens a port and closes it: its mapping is there. */
static struct port closed_port(const char *name)
{
	struct port p = open_port(name);
	CHECK(close(p.fd) == 0);
	CHECK(!is_free(name));
	return p;
}

static int open_numbers(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Only the first pages are looked at one by one: the region has ten thousand. */
static void case_page_by_page(void)
{
	struct port p = closed_port("vale0:a");
	for (int i = 1; i < 64; i += 2)
		CHECK(munmap(p.mem + i * PAGE, PAGE) == 0);
	CHECK(munmap(p.mem + 64 * PAGE, p.size - 64 * PAGE) == 0);
	for (int i = 0; i < 64; i += 2) {
		CHECK(!is_free("vale0:a"));
		/* half a page is a page, and what is gone can be unmapped again */
		CHECK(munmap(p.mem + i * PAGE, PAGE / 2) == 0);
		CHECK(munmap(p.mem, i * PAGE + 1) == 0);
	}
	CHECK(is_free("vale0:a"));
}

static void case_refused_unmapping(void)
{
	struct port p = closed_port("vale0:a");
	CHECK(munmap(p.mem + 1, PAGE) < 0 && errno == EINVAL);
	CHECK(munmap(p.mem, 0) < 0 && errno == EINVAL);
	CHECK(mmap(p.mem, p.size, PROT_READ, MAP_FIXED | MAP_PRIVATE, -1, 0) == MAP_FAILED && errno == EBADF);
	CHECK(mremap(p.mem + 1, PAGE, PAGE, 0) == MAP_FAILED);
	CHECK(!is_free("vale0:a"));
	CHECK(munmap(p.mem, p.size) == 0);
	CHECK(is_free("vale0:a"));
}

static void case_by_number(void)
{
	struct port p = closed_port("vale0:a");
	CHECK(syscall(SYS_munmap, p.mem, p.size) == 0);
	CHECK(is_free("vale0:a"));
}

static void case_mapped_over(void)
{
	struct port p = closed_port("vale0:a");
	size_t half = p.size / 2 / PAGE * PAGE;
	CHECK(mmap(p.mem, half, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p.mem);
	CHECK(!is_free("vale0:a"));
	/* by another port's memory, which takes its place */
	struct port q = open_port("vale0:b");
	void *rest = mmap(p.mem + half, p.size - half, PROT_READ, MAP_FIXED | MAP_SHARED, q.fd, 0);
	CHECK(rest == p.mem + half);
	CHECK(is_free("vale0:a"));
	close_port(&q);
	CHECK(!is_free("vale0:b"));
	munmap(p.mem, p.size);
	CHECK(is_free("vale0:b"));
}

/* shmat replaces what is there, too. */
static void case_attached_over(void)
{
	struct port p = closed_port("vale0:a");
	size_t half = p.size / 2 / PAGE * PAGE;
	int id = shmget(IPC_PRIVATE, half, 0600);
	CHECK(id >= 0);
	CHECK(shmat(id, p.mem, 0) == (void *)-1 && errno == EINVAL);
	CHECK(!is_free("vale0:a"));
	CHECK(shmat(id, p.mem, SHM_REMAP) == p.mem);
	CHECK(!is_free("vale0:a"));
	CHECK(syscall(SYS_shmat, id, p.mem + half, SHM_REMAP) == (long)(p.mem + half));
	CHECK(shmctl(id, IPC_RMID, NULL) == 0);
	CHECK(munmap(p.mem + 2 * half, PAGE) == 0);
	CHECK(is_free("vale0:a"));
	CHECK(shmdt(p.mem) == 0 && shmdt(p.mem + half) == 0);
}

static void case_moved(void)
{
	struct port p = closed_port("vale0:a");
	char *room = mmap(NULL, p.size + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(room != MAP_FAILED);
	CHECK(mremap(p.mem, p.size, p.size, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	/* the old place is free, and what is unmapped there is nothing of the port's */
	CHECK(munmap(p.mem, p.size) == 0);
	CHECK(!is_free("vale0:a"));
	/* shorter, and longer again: what is left is the first page */
	CHECK(mremap(room, p.size, 2 * PAGE, 0) == room);
	CHECK(munmap(room + PAGE, p.size) == 0);
	CHECK(!is_free("vale0:a"));
	CHECK(mremap(room, PAGE, 2 * PAGE, 0) == room);
	CHECK(munmap(room, PAGE) == 0);
	CHECK(!is_free("vale0:a"));
	CHECK(mremap(room + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p.mem) == p.mem);
	CHECK(munmap(room, 2 * PAGE) == 0);
	CHECK(!is_free("vale0:a"));
	CHECK(munmap(p.mem, PAGE) == 0);
	CHECK(is_free("vale0:a"));
}

/* An old length of nothing makes a second mapping of shared memory; so does MREMAP_DONTUNMAP. */
static void case_second_mapping(void)
{
	struct port p = closed_port("vale0:a");
	char *second = mremap(p.mem, 0, 2 * PAGE, MREMAP_MAYMOVE);
	CHECK(second != MAP_FAILED && second != p.mem);
	CHECK(munmap(p.mem, p.size) == 0);
	CHECK(!is_free("vale0:a"));
	CHECK(munmap(second, 2 * PAGE) == 0);
	CHECK(is_free("vale0:a"));
}

/* What is moved over a port's memory takes its place. */
static void case_moved_over(void)
{
	struct port p = closed_port("vale0:a");
	char *mine = mmap(NULL, p.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mine != MAP_FAILED);
	CHECK(mremap(mine, p.size, p.size, MREMAP_MAYMOVE | MREMAP_FIXED, p.mem) == p.mem);
	CHECK(is_free("vale0:a"));
}

static void case_numbers(void)
{
	struct port p = open_port("vale0:a");
	int open_before = open_numbers(), copies[3];
	void *again = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, p.fd, 0);
	CHECK(again != MAP_FAILED);
	for (int i = 0; i < 3; i++)
		copies[i] = dup(p.fd);
	/* an open description needs no number for its mappings, a closed one needs one */
	CHECK(open_numbers() == open_before + 3);
	close(p.fd);
	close(copies[1]);
	/* the next number is the lowest one, as if nothing had been kept */
	int plain = open("/dev/null", O_RDONLY);
	CHECK(plain == p.fd);
	CHECK(dup2(plain, copies[0]) == copies[0]);
	CHECK(ioctl(copies[2], NIOCTXSYNC, NULL) == 0);
	CHECK(close(copies[2]) == 0);
	CHECK(close(copies[2]) < 0 && errno == EBADF);
	CHECK(ioctl(copies[2], NIOCTXSYNC, NULL) < 0 && errno == EBADF);
	CHECK(!is_free("vale0:a"));
	CHECK(open("/dev/null", O_RDONLY) == copies[1]);
	munmap(again, PAGE);
	CHECK(!is_free("vale0:a"));
	munmap(p.mem, p.size);
	CHECK(is_free("vale0:a"));
}

static void case_close_everything(void)
{
	struct port p = open_port("vale0:a"), q = open_port("vale0:b");
	CHECK(close_range(3, ~0u, 0) == 0);
	CHECK(ioctl(p.fd, NIOCTXSYNC, NULL) < 0 && errno == EBADF);
	CHECK(!is_free("vale0:a") && !is_free("vale0:b"));
	closefrom(3);
	CHECK(!is_free("vale0:a") && !is_free("vale0:b"));
	munmap(p.mem, p.size);
	CHECK(is_free("vale0:a") && !is_free("vale0:b"));
	munmap(q.mem, q.size);
	CHECK(is_free("vale0:b"));
}

static void limit_numbers(rlim_t n)
{
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = n;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* No number at all is left: the close is one, and nothing fails. */
static void case_no_number_left(void)
{
	struct port p = open_port("vale0:a"), q = open_port("vale0:b");
	limit_numbers(64);
	int filler[64], n = 0;
	while ((filler[n] = open("/dev/null", O_RDONLY)) >= 0)
		n++;
	CHECK(errno == EMFILE);
	CHECK(close(p.fd) == 0);
	/* now there is one, and it is used */
	CHECK(close(filler[--n]) == 0);
	CHECK(close(q.fd) == 0);
	while (n > 0)
		close(filler[--n]);
	CHECK(is_free("vale0:a") && !is_free("vale0:b"));
	CHECK(munmap(p.mem, p.size) == 0);
	CHECK(munmap(q.mem, q.size) == 0);
	CHECK(is_free("vale0:b"));
}

/* Twenty children have what their parent has, each closes and unmaps for itself. */
static void case_forks(void)
{
	struct port p = open_port("vale0:a"), q = closed_port("vale0:b");
	int go[2], status;
	char x;
	CHECK(pipe(go) == 0);
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			close(go[1]);
			close(p.fd);
			if (i % 2)
				CHECK(munmap(q.mem, q.size) == 0);
			if (i % 4 == 1)
				CHECK(munmap(p.mem, p.size) == 0);
			if (i % 4 == 2)
				CHECK(!is_free("vale0:a"));
			_exit(read(go[0], &x, 1) != 0);
		}
	}
	close_port(&p);
	munmap(q.mem, q.size);
	CHECK(!is_free("vale0:a") && !is_free("vale0:b"));
	close(go[1]);
	for (int i = 0; i < 20; i++)
		CHECK(wait(&status) > 0 && status == 0);
	CHECK(is_free("vale0:a") && is_free("vale0:b"));
}

/* An epoll set hears of a port whose number is something else's by now. */
static void case_number_reused(void)
{
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	int set = epoll_create1(0), ends[2];
	struct epoll_event wanted = { .events = EPOLLIN, .data.u32 = 1 }, got[4];
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, b.fd, &wanted) == 0);
	CHECK(pipe(ends) == 0);
	CHECK(dup2(ends[0], b.fd) == b.fd);
	wanted.data.u32 = 2;
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, b.fd, &wanted) == 0);
	CHECK(epoll_wait(set, got, 4, 0) == 0);
	struct netmap_ring *ring = tx_ring(&a, 0);
	struct netmap_slot *slot = &ring->slot[ring->head];
	write_packet((uint8_t *)NETMAP_BUF(ring, slot->buf_idx), 64, 0xff, 1, 0);
	slot->len = 64;
	ring->head = ring->cur = nm_ring_next(ring, ring->head);
	CHECK(ioctl(a.fd, NIOCTXSYNC, NULL) == 0);
	CHECK(epoll_wait(set, got, 4, NEVER) == 1 && got[0].data.u32 == 1);
	CHECK(write(ends[1], "", 1) == 1);
	CHECK(epoll_wait(set, got, 4, NEVER) == 2 && got[0].data.u32 + got[1].data.u32 == 3);
	CHECK(epoll_ctl(set, EPOLL_CTL_DEL, b.fd, NULL) == 0);
	CHECK(epoll_wait(set, got, 4, NEVER) == 1 && got[0].data.u32 == 1);
	munmap(b.mem, b.size);
	CHECK(epoll_wait(set, got, 4, 0) == 0);
	close_port(&a);
}

/* Does the set wait for room on any descriptor? */
static int waits_for_room(int set)
{
	char path[64], line[256];
	unsigned number, events;
	int found = 0;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", set);
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "tfd: %u events: %x", &number, &events) == 2 && events & EPOLLOUT)
			found = 1;
	if (file)
		fclose(file);
	return found;
}

/*
 * A set that others may sleep in is told of a new member by an event that comes at once; it has to be taken back while
 * the member has its number, or the set would never rest again.
 */
static void case_set_rests(void)
{
	struct port b = open_port("vale0:b");
	int set = epoll_create1(0), same = dup(set);
	struct epoll_event wanted = { .events = EPOLLIN }, got;
	CHECK(epoll_ctl(same, EPOLL_CTL_ADD, b.fd, &wanted) == 0);
	close(b.fd);
	CHECK(!waits_for_room(set));
	CHECK(epoll_wait(set, &got, 1, 20) == 0);
	munmap(b.mem, b.size);
	CHECK(is_free("vale0:b"));
}

#define ROUNDS 150

static struct port shared_port;

/* Maps and unmaps a port of its own, a page of a shared one, and memory of no port. */
static void *map_and_unmap(void *name)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct port p = open_port(name);
		void *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, shared_port.fd, 0);
		CHECK(page != MAP_FAILED);
		close(p.fd);
		void *mine = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(mine != MAP_FAILED && munmap(mine, 8 * PAGE) == 0);
		CHECK(munmap(page, PAGE) == 0);
		CHECK(munmap(p.mem, p.size) == 0);
	}
	return NULL;
}

static void *fork_all_the_time(void *name)
{
	(void)name;
	for (int i = 0, status; i < ROUNDS / 5; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0)
			_exit(munmap(shared_port.mem, shared_port.size));
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	return NULL;
}

static void case_threads(void)
{
	static char *const names[] = { "vale0:x", "vale0:y", "vale0:z" };
	pthread_t threads[4];
	shared_port = open_port("vale0:shared");
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, map_and_unmap, names[i]) == 0);
	CHECK(pthread_create(&threads[3], NULL, fork_all_the_time, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(is_free(names[i]));
	CHECK(close(shared_port.fd) == 0);
	CHECK(!is_free("vale0:shared"));
	CHECK(munmap(shared_port.mem, shared_port.size) == 0);
	CHECK(is_free("vale0:shared"));
}

static struct port handlers_port;
static volatile int handled;

/* Takes the next page of its port away, by one means or the other. */
static void on_timer(int signal)
{
	int saved = errno;
	char *page = handlers_port.mem + handled * PAGE;
	(void)signal;
	if (handled % 2)
		CHECK(munmap(page, PAGE) == 0);
	else
		CHECK(mmap(page, PAGE, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == page);
	handled++;
	errno = saved;
}

/* A handler unmaps while the program maps, closes and unmaps. */
static void case_handler(void)
{
	struct sigaction action = { .sa_handler = on_timer, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };
	handlers_port = closed_port("vale0:b");
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	while (handled < 200) {
		struct port p = open_port("vale0:a");
		CHECK(munmap(p.mem, PAGE) == 0 && close(p.fd) == 0);
		CHECK(munmap(p.mem + PAGE, p.size - PAGE) == 0);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(is_free("vale0:a") && !is_free("vale0:b"));
	CHECK(munmap(handlers_port.mem, handlers_port.size) == 0);
	CHECK(is_free("vale0:b"));
}

static const struct test_case cases[] = {
	{ "page-by-page", case_page_by_page },
	{ "refused-unmapping", case_refused_unmapping },
	{ "by-number", case_by_number },
	{ "mapped-over", case_mapped_over },
	{ "attached-over", case_attached_over },
	{ "moved", case_moved },
	{ "second-mapping", case_second_mapping },
	{ "moved-over", case_moved_over },
	{ "numbers", case_numbers },
	{ "close-everything", case_close_everything },
	{ "no-number-left", case_no_number_left },
	{ "forks", case_forks },
	{ "number-reused", case_number_reused },
	{ "set-rests", case_set_rests },
	{ "threads", case_threads },
	{ "handler", case_handler },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
