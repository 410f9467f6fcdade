/*
 * EXTMEM: programs' own memory as the region of a port. Each case is a world of its own.
 */
#include "options.h"

#define MEGA (1u << 20)
#define SIZE (32u * MEGA)

static void *memory(int flags, size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(at != MAP_FAILED);
	return at;
}

static struct nmreq_opt_extmem option_for(void *at, uint64_t size)
{
	struct nmreq_opt_extmem o;
	memset(&o, 0, sizeof o);
	o.nro_opt.nro_reqtype = NETMAP_REQ_OPT_EXTMEM;
	o.nro_opt.nro_status = 0x55;
	o.nro_usrptr = (uintptr_t)at;
	o.nro_info.nr_memsize = size;
	o.nro_info.nr_if_pool_objtotal = 20;
	o.nro_info.nr_ring_pool_objtotal = 20;
	o.nro_info.nr_ring_pool_objsize = 36864;
	return o;
}

/* Binds a port whose region is the memory at `at`; the program does not map the descriptor. 0 or an errno. */
static int try_in(struct port *p, const char *name, void *at, struct nmreq_opt_extmem *o)
{
	memset(p, 0, sizeof *p);
	p->fd = open_device();
	p->reg.nr_mode = NR_REG_ALL_NIC;
	int e = refused(p->fd, NETMAP_REQ_REGISTER, name, &p->reg, o);
	CHECK(o->nro_opt.nro_status == (uint32_t)e);
	if (e != 0) {
		close(p->fd);
		return e;
	}
	p->size = p->reg.nr_memsize;
	p->mem = at;
	p->nif = NETMAP_IF(p->mem, p->reg.nr_offset);
	return 0;
}

static struct port open_in(const char *name, void *at, uint64_t size)
{
	struct nmreq_opt_extmem o = option_for(at, size);
	struct port p;
	errno = try_in(&p, name, at, &o);
	CHECK(errno == 0);
	CHECK(strcmp(p.nif->ni_name, name) == 0);
	return p;
}

/* A packet from one port to the other. */
static void exchange(struct port *from, struct port *to)
{
	static uint64_t seq;
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	send_one(from, 0xff, 1, &seq);
	CHECK(ioctl(to->fd, NIOCRXSYNC, NULL) == 0);
	CHECK(empty_ring(rx_ring(to, 0), 10, &seen, 2) == 1);
}

static void both_ways(struct port *a, struct port *b)
{
	exchange(a, b);
	exchange(b, a);
}

static void move_packets(void *at, uint64_t size)
{
	struct port a = open_in("vale0:a", at, size), b = open_port("vale0:b");
	for (int i = 0; i < 2000; i++)
		both_ways(&a, &b);
	close(a.fd);
	close_port(&b);
}

static void anonymous_private(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
	/* what lies there stays, where netmap does not write */
	memset(at + SIZE - 4096, 0x5a, 4096);
	move_packets(at, SIZE);
	for (int i = 0; i < 4096; i++)
		CHECK(at[SIZE - 4096 + i] == 0x5a);
}

static void anonymous_shared(void)
{
	move_packets(memory(MAP_SHARED | MAP_ANONYMOUS, SIZE), SIZE);
}

static void malloced(void)
{
	/* begins in the middle of a page: the region begins where the page does */
	char *block = malloc(SIZE + 4096);
	CHECK(block != NULL);
	char *at = block + 100;
	char *page = (char *)((uintptr_t)at & ~(uintptr_t)4095);
	struct nmreq_opt_extmem o = option_for(at, SIZE);
	struct port a, b = open_port("vale0:b");
	CHECK(try_in(&a, "vale0:a", page, &o) == 0);
	both_ways(&a, &b);
	close(a.fd);
	close_port(&b);
	/* the block is not given back: the port's objects lie on the allocator's own words */
}

static void huge_pages(void)
{
	void *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (at == MAP_FAILED) {
		/* none are set aside on this machine: those that the kernel makes by itself */
		at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
		madvise(at, SIZE, MADV_HUGEPAGE);
		memset(at, 0, SIZE);
	}
	move_packets(at, SIZE);
}

static const char *file_of(size_t size)
{
	static char name[4096];
	const char *folder = getenv("UVALE_DIR");
	snprintf(name, sizeof name, "%s/extmem-XXXXXX", folder ? folder : ".");
	int fd = mkstemp(name);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	close(fd);
	return name;
}

static void *map_file(const char *name, size_t size)
{
	int fd = open(name, O_RDWR);
	CHECK(fd >= 0);
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

static void file_of_one_process(void)
{
	const char *name = file_of(SIZE);
	move_packets(map_file(name, SIZE), SIZE);
	unlink(name);
}

/* A file that is mapped twice: netmap's memory is seen in both places. */
static void file_mapped_twice(void)
{
	const char *name = file_of(SIZE);
	char *at = map_file(name, SIZE), *again = map_file(name, SIZE);
	int fd = open(name, O_RDWR);
	char *part = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fd, 4096);
	CHECK(fd >= 0 && part != MAP_FAILED);
	close(fd);
	struct port a = open_in("vale0:a", at, SIZE);
	CHECK(strcmp(NETMAP_IF(again, a.reg.nr_offset)->ni_name, "vale0:a") == 0);
	memcpy(at + 4096 + 60000, "here", 5);
	CHECK(strcmp(part + 60000, "here") == 0);
	struct port b = open_in("vale0:b", again, SIZE);
	CHECK(a.reg.nr_mem_id == b.reg.nr_mem_id);
	both_ways(&a, &b);
	close(a.fd);
	close(b.fd);
	unlink(name);
}

struct meeting {
	const char *name;
	int to_child, to_parent, leave;
};

static void tell(int fd)
{
	CHECK(write(fd, "x", 1) == 1);
}

static void hear(int fd)
{
	char c;
	CHECK(read(fd, &c, 1) == 1);
}

static void second_of_two(void *with)
{
	struct meeting *m = with;
	char *at = map_file(m->name, SIZE);
	hear(m->to_child);
	struct port b = open_in("vale0:b", at, SIZE);
	CHECK(write(m->to_parent, &b.reg.nr_mem_id, 2) == 2);
	CHECK(write(m->to_parent, &b.reg.nr_offset, 8) == 8);
	/* what the other writes into its memory is seen here: a ring of its own */
	struct netmap_ring *r = rx_ring(&b, 0);
	uint64_t ofs = (uint64_t)((char *)r - at);
	CHECK(write(m->to_parent, &ofs, 8) == 8);
	WAIT_FOR(*(volatile uint8_t *)&r->sem[0] == 0x77);
	r->sem[1] = 0x78;
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	unsigned got = 0;
	while (got < 100) {
		CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
		got += empty_ring(r, 100, &seen, 2);
	}
	close(b.fd);
}

/* Two processes map one file and give it to netmap: both see one region. */
static void file_of_two_processes(void)
{
	int down[2], up[2], status;
	struct meeting m = { .name = file_of(SIZE) };
	CHECK(pipe(down) == 0 && pipe(up) == 0);
	m.to_child = down[0];
	m.to_parent = up[1];
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		second_of_two(&m);
		_exit(0);
	}
	char *at = map_file(m.name, SIZE);
	struct port a = open_in("vale0:a", at, SIZE);
	tell(down[1]);
	uint16_t mem_id;
	uint64_t nifp, ofs;
	CHECK(read(up[0], &mem_id, 2) == 2 && read(up[0], &nifp, 8) == 8 && read(up[0], &ofs, 8) == 8);
	CHECK(mem_id == a.reg.nr_mem_id);
	CHECK(strcmp(NETMAP_IF(at, nifp)->ni_name, "vale0:b") == 0);
	struct netmap_ring *theirs = (struct netmap_ring *)(at + ofs);
	theirs->sem[0] = 0x77;
	WAIT_FOR(*(volatile uint8_t *)&theirs->sem[1] == 0x78);
	uint64_t seq = 0;
	for (int i = 0; i < 100; i++)
		send_one(&a, 0xff, 1, &seq);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	close(a.fd);
	unlink(m.name);
}

static void same_memory_twice(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
	struct port a = open_in("vale0:a", at, SIZE), b = open_in("vale0:b", at, SIZE);
	CHECK(a.reg.nr_mem_id == b.reg.nr_mem_id && a.nif != b.nif);
	both_ways(&a, &b);
	close(a.fd);
	struct port c = open_in("vale0:c", at, SIZE);
	CHECK(c.reg.nr_mem_id == b.reg.nr_mem_id);
	both_ways(&c, &b);
	close(b.fd);
	close(c.fd);
	/* nobody uses it any more; then it is new memory again */
	struct port d = open_in("vale0:a", at, SIZE);
	struct port e = open_in("vale0:b", at, SIZE);
	CHECK(d.reg.nr_mem_id == e.reg.nr_mem_id);
	both_ways(&d, &e);
	close(d.fd);
	close(e.fd);
}

struct giver {
	char *at;
	pthread_barrier_t *all;
	struct port port;
	char name[16];
};

static void *give(void *with)
{
	struct giver *g = with;
	pthread_barrier_wait(g->all);
	g->port = open_in(g->name, g->at, SIZE);
	return NULL;
}

/* Threads give the same memory at the same time. */
static void at_the_same_time(void)
{
	enum { THREADS = 6 };
	for (int round = 0; round < 4; round++) {
		char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
		struct giver g[THREADS];
		pthread_t t[THREADS];
		pthread_barrier_t all;
		pthread_barrier_init(&all, NULL, THREADS);
		for (int i = 0; i < THREADS; i++) {
			g[i] = (struct giver){ .at = at, .all = &all };
			snprintf(g[i].name, sizeof g[i].name, "vale0:t%d", i);
			CHECK(pthread_create(&t[i], NULL, give, &g[i]) == 0);
		}
		for (int i = 0; i < THREADS; i++) {
			CHECK(pthread_join(t[i], NULL) == 0);
			CHECK(g[i].port.reg.nr_mem_id == g[0].port.reg.nr_mem_id);
		}
		for (int i = 1; i < THREADS; i++) {
			CHECK(strcmp(g[i].port.nif->ni_name, g[i].name) == 0);
			tx_ring(&g[i].port, 0)->sem[0] = 1;
		}
		for (int i = 0; i < THREADS; i++)
			close(g[i].port.fd);
		munmap(at, SIZE);
	}
}

static void process_that_gives(void *with)
{
	struct meeting *m = with;
	char *at = map_file(m->name, SIZE), c;
	CHECK(read(m->to_child, &c, 1) == 0);
	char name[16];
	snprintf(name, sizeof name, "vale0:p%d", (int)(getpid() % 100000));
	struct port p = open_in(name, at, SIZE);
	CHECK(write(m->to_parent, &p.reg.nr_mem_id, 2) == 2);
	CHECK(read(m->leave, &c, 1) == 0);
	CHECK(strcmp(p.nif->ni_name, name) == 0);
	close(p.fd);
}

/* The same with processes and a file. */
static void processes_at_the_same_time(void)
{
	enum { PROCESSES = 6 };
	int down[2], up[2], end[2], status;
	struct meeting m = { .name = file_of(SIZE) };
	CHECK(pipe(down) == 0 && pipe(up) == 0 && pipe(end) == 0);
	m.to_child = down[0];
	m.to_parent = up[1];
	m.leave = end[0];
	for (int i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			close(down[1]);
			close(end[1]);
			process_that_gives(&m);
			_exit(0);
		}
	}
	close(down[1]);
	uint16_t first = 0, id;
	for (int i = 0; i < PROCESSES; i++) {
		CHECK(read(up[0], &id, 2) == 2);
		first = first ? first : id;
		CHECK(id == first);
	}
	close(end[1]);
	for (int i = 0; i < PROCESSES; i++)
		CHECK(wait(&status) > 0 && status == 0);
	unlink(m.name);
}

static void two_halves(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, 2 * SIZE);
	struct port a = open_in("vale0:a", at, SIZE), b = open_in("vale0:b", at + SIZE, SIZE);
	CHECK(a.reg.nr_mem_id != b.reg.nr_mem_id);
	both_ways(&a, &b);
	close(a.fd);
	both_ways(&b, &(struct port[]){ open_in("vale0:a", at, SIZE) }[0]);
	close(b.fd);
}

static void pipe_and_memory_id(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
	struct port master = open_in("xp{1", at, SIZE);
	struct port slave = open_port("xp}1");
	CHECK(slave.reg.nr_mem_id == master.reg.nr_mem_id);
	both_ways(&master, &slave);
	/* the descriptor shows the same memory as the program has */
	size_t ofs = (size_t)((char *)tx_ring(&slave, 0) - slave.mem);
	tx_ring(&slave, 0)->sem[3] = 0x42;
	CHECK(((struct netmap_ring *)(at + ofs))->sem[3] == 0x42);

	struct port by_id;
	memset(&by_id, 0, sizeof by_id);
	by_id.reg.nr_mem_id = master.reg.nr_mem_id;
	CHECK(try_port(&by_id, "vale0:x", 0) == 0);
	struct port other = open_port("vale0:y");
	both_ways(&by_id, &other);
	close(master.fd);
	both_ways(&by_id, &other);
	close_port(&slave);
	close_port(&by_id);
	close_port(&other);
}

/* Zero-copy: an extra buffer is sent through a pipe, and the one it took the place of is sent next. */
static void buffers_change_sides(void)
{
	char *at = memory(MAP_SHARED | MAP_ANONYMOUS, SIZE);
	struct nmreq_opt_extmem o = option_for(at, SIZE);
	struct port a, b;
	memset(&a, 0, sizeof a);
	a.fd = open_device();
	a.reg.nr_mode = NR_REG_ALL_NIC;
	a.reg.nr_extra_bufs = 1;
	CHECK(refused(a.fd, NETMAP_REQ_REGISTER, "xp{1", &a.reg, &o) == 0 && a.reg.nr_extra_bufs == 1);
	a.mem = at;
	a.nif = NETMAP_IF(at, a.reg.nr_offset);
	b = open_in("xp}1", at, SIZE);
	struct netmap_ring *tx = tx_ring(&a, 0), *rx = rx_ring(&b, 0);
	uint32_t spare = a.nif->ni_bufs_head;
	CHECK(spare > 1);
	a.nif->ni_bufs_head = 0;
	for (uint32_t i = 0; i < 5000; i++) {
		struct netmap_slot *s = &tx->slot[tx->head];
		uint32_t sent = spare;
		memcpy(NETMAP_BUF(tx, sent), &i, sizeof i);
		spare = s->buf_idx;
		s->buf_idx = sent;
		s->len = 60;
		s->flags = NS_BUF_CHANGED;
		tx->head = tx->cur = nm_ring_next(tx, tx->head);
		CHECK(ioctl(a.fd, NIOCTXSYNC, NULL) == 0 && ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
		CHECK(ring_space(rx) == 1);
		struct netmap_slot *r = &rx->slot[rx->head];
		uint32_t arrived;
		memcpy(&arrived, NETMAP_BUF(rx, r->buf_idx), sizeof arrived);
		CHECK(r->buf_idx == sent && arrived == i);
		rx->head = rx->cur = nm_ring_next(rx, rx->head);
		CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
	}
	memset(NETMAP_BUF(tx, spare), 0, 4);
	a.nif->ni_bufs_head = spare;
	close(a.fd);
	close(b.fd);
}

static int open_at(void *at, uint64_t size)
{
	struct nmreq_opt_extmem o = option_for(at, size);
	struct port p;
	int e = try_in(&p, "vale0:a", at, &o);
	if (e == 0)
		close(p.fd);
	return e;
}

static void bad_memory(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
	CHECK(open_at(NULL, 0) == ENOMEM);
	CHECK(open_at(at, 0) == ENOMEM);
	CHECK(open_at(NULL, SIZE) == EFAULT);
	CHECK(open_at((void *)16, SIZE) == EFAULT);
	CHECK(open_at((void *)0x7fffffff0000, SIZE) == EFAULT);
	CHECK(open_at((void *)-4096, SIZE) == ENOMEM);
	CHECK(open_at(at, UINT64_MAX) == ENOMEM);
	CHECK(open_at(at, 1ull << 62) == ENOMEM);
	/* too small for what is asked for */
	CHECK(open_at(at, MEGA / 2) == ENOMEM);
	/* more than there is */
	munmap(at + SIZE - 4096, 4096);
	CHECK(open_at(at, SIZE) == EFAULT);
	CHECK(open_at(at, SIZE - 4096) == 0);
	/* a hole in the middle */
	munmap(at + SIZE / 2, 4096);
	CHECK(open_at(at, SIZE - 4096) == EFAULT);
	CHECK(open_at(at, SIZE / 2) == 0);
	CHECK(mprotect(at + 4096, 4096, PROT_READ) == 0);
	CHECK(open_at(at, SIZE / 2) == EFAULT);
	CHECK(mprotect(at + 4096, 4096, PROT_NONE) == 0);
	CHECK(open_at(at, SIZE / 2) == EFAULT);
	CHECK(mprotect(at + 4096, 4096, PROT_READ | PROT_WRITE) == 0);
	CHECK(open_at(at, SIZE / 2) == 0);
	/* a file that is shorter than its mapping */
	const char *name = file_of(SIZE / 4);
	CHECK(open_at(map_file(name, SIZE), SIZE) == EFAULT);
	unlink(name);
	/* the option itself beyond the end of memory */
	char *edge = memory(MAP_PRIVATE | MAP_ANONYMOUS, 8192);
	munmap(edge + 4096, 4096);
	struct nmreq_opt_extmem o = option_for(at, SIZE / 2);
	memcpy(edge + 4096 - 64, &o, 64);
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
	int fd = open_device();
	CHECK(refused(fd, NETMAP_REQ_REGISTER, "vale0:a", &reg, edge + 4096 - 64) == EFAULT);
	close(fd);
}

/* Memory on the stack, in whole pages. */
static void the_stack(void)
{
	char here[65 * 4096];
	memset(here, 1, sizeof here);
	char *page = (char *)(((uintptr_t)here + 4095) & ~(uintptr_t)4095);
	struct nmreq_opt_extmem o = option_for(page, 64 * 4096);
	o.nro_info.nr_if_pool_objtotal = 2;
	o.nro_info.nr_ring_pool_objtotal = 4;
	o.nro_info.nr_ring_pool_objsize = 1024;
	o.nro_info.nr_buf_pool_objtotal = 64;
	struct port p;
	memset(&p, 0, sizeof p);
	p.fd = open_device();
	p.reg.nr_mode = NR_REG_ALL_NIC;
	p.reg.nr_tx_slots = p.reg.nr_rx_slots = 16;
	int e = refused(p.fd, NETMAP_REQ_REGISTER, "vale0:a", &p.reg, &o);
	CHECK(e == 0);
	CHECK(strcmp(NETMAP_IF(page, p.reg.nr_offset)->ni_name, "vale0:a") == 0);
	close(p.fd);
}

static void busy_and_refused(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
	struct port a = open_port("vale0:a");
	struct nmreq_opt_extmem o = option_for(at, SIZE);
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
	CHECK(refused(a.fd, NETMAP_REQ_REGISTER, "vale0:b", &reg, &o) == EBUSY);
	CHECK(o.nro_opt.nro_status == EOPNOTSUPP);
	close_port(&a);
	/* a request that fails later has not used the memory up */
	int fd = open_device();
	reg.nr_mode = 99;
	o = option_for(at, SIZE);
	CHECK(refused(fd, NETMAP_REQ_REGISTER, "vale0:b", &reg, &o) == EINVAL && o.nro_opt.nro_status == 0);
	close(fd);
	move_packets(at, SIZE);
	/* what it is not for */
	fd = open_device();
	o = option_for(at, SIZE);
	struct nmreq_port_info_get info;
	memset(&info, 0, sizeof info);
	CHECK(refused(fd, NETMAP_REQ_PORT_INFO_GET, "vale0:b", &info, &o) == 0);
	CHECK(o.nro_opt.nro_status == EOPNOTSUPP);
	close(fd);
}

static void after_close(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
	for (int i = 0; i < 3; i++) {
		struct port a = open_in("vale0:a", at, SIZE), b = open_port("vale0:b");
		both_ways(&a, &b);
		char *buffer = NETMAP_BUF(tx_ring(&a, 0), tx_ring(&a, 0)->slot[0].buf_idx);
		strcpy(buffer, "mine");
		close(a.fd);
		close_port(&b);
		CHECK(strcmp(buffer, "mine") == 0);
		memset(at, i, SIZE);
		for (size_t j = 0; j < SIZE; j += 4096)
			CHECK(at[j] == i);
	}
	CHECK(munmap(at, SIZE) == 0);
}

static void child_of_a_fork(void *with)
{
	struct port *both = with;
	both_ways(&both[0], &both[1]);
}

static void over_a_fork(void)
{
	char *at = memory(MAP_PRIVATE | MAP_ANONYMOUS, SIZE);
	struct port both[2] = { open_in("vale0:a", at, SIZE), open_port("vale0:b") };
	both_ways(&both[0], &both[1]);
	in_child(child_of_a_fork, both);
	both_ways(&both[0], &both[1]);
	close(both[0].fd);
	close_port(&both[1]);
}

static void killed(void)
{
	char *at = memory(MAP_SHARED | MAP_ANONYMOUS, SIZE);
	struct port b = open_port("vale0:b");
	int ready[2], status;
	CHECK(pipe(ready) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		struct port a = open_in("vale0:a", at, SIZE);
		uint64_t seq = 0;
		tell(ready[1]);
		for (;;)
			send_one(&a, 0xff, 1, &seq);
	}
	hear(ready[0]);
	pause_ms(20);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	/* the port goes with it, its memory too */
	struct port a;
	memset(&a, 0, sizeof a);
	WAIT_FOR(try_port(&a, "vale0:a", 0) == 0);
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
	empty_ring(rx_ring(&b, 0), 5000, &seen, 0);
	close_port(&a);
	close_port(&b);
}

static const struct test_case cases[] = {
	{ "anonymous-private", anonymous_private },
	{ "anonymous-shared", anonymous_shared },
	{ "malloced", malloced },
	{ "huge-pages", huge_pages },
	{ "file-of-one-process", file_of_one_process },
	{ "file-mapped-twice", file_mapped_twice },
	{ "file-of-two-processes", file_of_two_processes },
	{ "same-memory-twice", same_memory_twice },
	{ "at-the-same-time", at_the_same_time },
	{ "processes-at-the-same-time", processes_at_the_same_time },
	{ "two-halves", two_halves },
	{ "pipe-and-memory-id", pipe_and_memory_id },
	{ "buffers-change-sides", buffers_change_sides },
	{ "bad-memory", bad_memory },
	{ "the-stack", the_stack },
	{ "busy-and-refused", busy_and_refused },
	{ "after-close", after_close },
	{ "over-a-fork", over_a_fork },
	{ "killed", killed },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
