/*
 * OFFSETS: packets that begin inside their buffers, between programs. Each case is a world of its own.
 */
#include "options.h"

static struct port open_offsets(const char *name, uint64_t max, uint64_t initial, uint32_t bits)
{
	struct nmreq_opt_offsets o;
	struct port p;
	memset(&p, 0, sizeof p);
	memset(&o, 0, sizeof o);
	o.nro_opt.nro_reqtype = NETMAP_REQ_OPT_OFFSETS;
	o.nro_max_offset = max;
	o.nro_initial_offset = initial;
	o.nro_offset_bits = bits;
	p.fd = open_device();
	p.reg.nr_mode = NR_REG_ALL_NIC;
	CHECK(refused(p.fd, NETMAP_REQ_REGISTER, name, &p.reg, &o) == 0);
	CHECK(o.nro_opt.nro_status == 0 && map_port(&p) == 0);
	return p;
}

static void send_at(struct port *p, uint64_t offset, size_t length, uint64_t *seq)
{
	struct netmap_ring *r = tx_ring(p, 0);
	struct netmap_slot *s = &r->slot[r->head];
	NETMAP_WOFFSET(r, s, offset);
	CHECK(NETMAP_ROFFSET(r, s) == offset);
	write_packet((uint8_t *)NETMAP_BUF_OFFSET(r, s), length, 0xff, 1, (*seq)++);
	s->len = (uint16_t)length;
	s->flags = 0;
	r->head = r->cur = nm_ring_next(r, r->head);
	CHECK(ioctl(p->fd, NIOCTXSYNC, NULL) == 0);
}

/* The one packet that has arrived is whole; where does it lie? */
static uint64_t receive(struct port *p, struct seen *seen)
{
	struct netmap_ring *r = rx_ring(p, 0);
	CHECK(ioctl(p->fd, NIOCRXSYNC, NULL) == 0 && ring_space(r) == 1);
	struct netmap_slot *s = &r->slot[r->head];
	uint64_t offset = NETMAP_ROFFSET(r, s);
	check_packet(seen, (uint8_t *)NETMAP_BUF_OFFSET(r, s), s->len, 1);
	r->head = r->cur = nm_ring_next(r, r->head);
	CHECK(ioctl(p->fd, NIOCRXSYNC, NULL) == 0);
	return offset;
}

static void receiver_process(void *with)
{
	struct port *p = with;
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	CHECK(receive(p, &seen) == 130);
}

static void switched(void)
{
	struct port a = open_offsets("vale0:a", 512, 0, 0), b = open_offsets("vale0:b", 512, 64, 0),
		    c = open_port("vale0:c");
	struct seen at_b, at_c;
	memset(&at_b, 0, sizeof at_b);
	memset(&at_c, 0, sizeof at_c);
	uint64_t seq = 0;
	CHECK(tx_ring(&a, 0)->offset_mask == UINT64_MAX && tx_ring(&c, 0)->offset_mask == 0);
	for (int i = 0; i < 3000; i++) {
		uint64_t offset = (uint64_t)(i * 7) % 449;
		send_at(&a, offset, 64 + (size_t)i % 1400, &seq);
		CHECK(receive(&b, &at_b) % 64 == offset % 64);
		CHECK(receive(&c, &at_c) == 0);
	}
	close_port(&a);
	close_port(&b);
	close_port(&c);
}

static void in_another_process(void)
{
	struct port b = open_offsets("vale0:b", 512, 64, 16), a = open_offsets("vale0:a", 512, 0, 0);
	uint64_t seq = 0;
	send_at(&a, 130, 1000, &seq);
	in_child(receiver_process, &b);
	close_port(&a);
	close_port(&b);
}

static void piped(void)
{
	struct port a = open_offsets("p{1", 512, 100, 12), b = open_port("p}1");
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	uint64_t seq = 0;
	CHECK(rx_ring(&b, 0)->offset_mask == 0xfff);
	CHECK(NETMAP_ROFFSET(rx_ring(&b, 0), &rx_ring(&b, 0)->slot[5]) == 100);
	for (uint64_t i = 0; i < 3000; i++) {
		send_at(&a, i % 500, 64, &seq);
		CHECK(receive(&b, &seen) == i % 500);
	}
	close_port(&a);
	close_port(&b);
}

static const struct test_case cases[] = {
	{ "switched", switched },
	{ "in-another-process", in_another_process },
	{ "piped", piped },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
