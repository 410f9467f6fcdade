/*
 * What a mapping keeps that outlives its descriptor: the port, until the last page of it is unmapped, by whatever
 * means, or the process ends or executes another program.
 */
#include "scenario.h"

static int is_listed(const char *name)
{
	struct nmreq_vale_list list = { 0 };
	struct nmreq_header header;
	int fd = open_device(), found = 0;
	for (; !found; list.nr_port_idx++) {
		make_header(&header, NETMAP_REQ_VALE_LIST, "", &list, NULL);
		if (ioctl(fd, NIOCCTRL, &header) < 0)
			break;
		found = !strcmp(header.nr_name, name);
	}
	close(fd);
	return found;
}

static void fact_listed(const char *key, const char *name) { fact(key, "%d", is_listed(name)); }

static void vale(void)
{
	MUST_OPEN(a, "valek:a");
	MUST_OPEN(b, "valek:b");
	struct netmap_ring *ring = rxring(&b, 0);
	uint8_t *data = (uint8_t *)NETMAP_BUF(ring, ring->slot[0].buf_idx);
	data[59] = 0;
	close(b.fd);
	fact_listed("listed_after_close", "valek:b");
	OPEN(x, "valek:b", .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive_open", x.error);
	close_port(&x);
	OPEN(y, "valek:b");
	fact_error("plain_open", y.error);
	fact("same_memory", "%d", y.reg.nr_mem_id == b.reg.nr_mem_id);
	put(&a, 0x5c);
	txsync(&a);
	fact("data_written_without_any_fd", "%d", data[59] == 0x5c);
	fact_ring("ring_of_closed", ring);
	if (!y.error)
		fact_received("second_descriptor", &y, 0);
	close_port(&y);
	fact_listed("listed_before_munmap", "valek:b");
	munmap(b.mem, 4096);
	fact_listed("listed_after_first_page_unmapped", "valek:b");
	munmap(b.mem, b.reg.nr_memsize);
	fact_listed("listed_after_munmap", "valek:b");
	OPEN(z, "valek:b", .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive_open_after_munmap", z.error);
	close_port(&z);
}

static void forked(void)
{
	MUST_OPEN(b, "valek:f");
	int closed[2], go[2];
	char x;
	NEED(pipe(closed) == 0 && pipe(go) == 0);
	pid_t child = fork();
	if (child == 0) {
		close(b.fd);
		close(go[1]);
		close(closed[1]);
		_exit(read(go[0], &x, 1) != 0);
	}
	close(go[0]);
	close(closed[1]);
	NEED(read(closed[0], &x, 1) == 0);
	close_port(&b);
	fact_listed("child_mapping_keeps", "valek:f");
	close(go[1]);
	waitpid(child, NULL, 0);
	fact_listed("child_gone", "valek:f");
}

static void execed(void)
{
	int said[2], go[2];
	char x;
	NEED(pipe(said) == 0 && pipe(go) == 0);
	pid_t child = fork();
	if (child == 0) {
		OPEN(b, "valek:e");
		NEED(!b.error && is_listed("valek:e"));
		fcntl(b.fd, F_SETFD, FD_CLOEXEC);
		dup2(go[0], 0);
		dup2(said[1], 1);
		close(go[1]);
		execl("/proc/self/exe", "scenario", "--wait", NULL);
		_exit(1);
	}
	close(said[1]);
	NEED(read(said[0], &x, 1) == 1);
	fact("exec_drops_it", "%d", !is_listed("valek:e"));
	close(go[1]);
	waitpid(child, NULL, 0);
}

static void pipe_end(void)
{
	MUST_OPEN(m, "kk{1");
	MUST_OPEN(s, "kk}1");
	close(s.fd);
	OPEN(x, "kk}1", .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive_slave_while_mapped", x.error);
	close_port(&x);
	put(&m, 1);
	fact_error("master_txsync", txsync(&m));
	fact("master_poll", "%s", poll_result(m.fd, POLLOUT, 0));
	munmap(s.mem, s.reg.nr_memsize);
	OPEN(z, "kk}1", .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive_slave_after_munmap", z.error);
	close_port(&z);
	fact("master_poll_after", "%s", poll_result(m.fd, POLLOUT, 0));
}

/* A second mapping, of one page. */
static void one_page(void)
{
	MUST_OPEN(b, "valek:u");
	void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, b.fd, 0);
	fact("second_map", "%d", page != MAP_FAILED);
	munmap(b.mem, b.reg.nr_memsize);
	close(b.fd);
	fact_listed("keeps", "valek:u");
	munmap(page, 4096);
	fact_listed("none_left", "valek:u");
}

static void mremapped(void)
{
	MUST_OPEN(b, "valek:r");
	close(b.fd);
	void *same = mremap(b.mem, b.reg.nr_memsize, b.reg.nr_memsize, MREMAP_MAYMOVE);
	fact("mremap", "%s", same == MAP_FAILED ? error_name(errno) : "OK");
	void *over = mmap(b.mem, b.reg.nr_memsize, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fact("mapped_over", "%d", over == b.mem);
	fact_listed("listed", "valek:r");
}

static void epolled(void)
{
	MUST_OPEN(a, "valek:a");
	MUST_OPEN(b, "valek:b");
	int set = epoll_create1(0);
	struct epoll_event wanted = { .events = EPOLLIN }, got[2];
	NEED(epoll_ctl(set, EPOLL_CTL_ADD, b.fd, &wanted) == 0);
	close(b.fd);
	put(&a, 1);
	txsync(&a);
	fact("event_of_closed_but_mapped", "%d", epoll_wait(set, got, 2, 100));
	munmap(b.mem, b.reg.nr_memsize);
	fact("after_munmap", "%d", epoll_wait(set, got, 2, 100));
}

SCENARIO("switch", "a mapping keeps its port",
	{ "vale", vale }, { "forked", forked }, { "execed", execed }, { "pipe_end", pipe_end }, { "one_page", one_page },
	{ "mremapped", mremapped }, { "epolled", epolled })
