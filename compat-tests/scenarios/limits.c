/* How many of everything: ports, switches, pipes, rings, slots, descriptors on one port, monitors. */
#include "scenario.h"

#define MANY 400

static struct port many[MANY];

/* Binds NAME0, NAME1... until it is refused; gives how many there are. */
static int open_many(const char *format, int most, struct nmreq_register reg, int *error)
{
	char name[64];
	int n = 0;
	for (*error = 0; n < most; n++) {
		snprintf(name, sizeof name, format, n);
		many[n] = (struct port){ .reg = reg };
		many[n].fd = open_device();
		*error = request_on(many[n].fd, NETMAP_REQ_REGISTER, name, &many[n].reg);
		if (*error) {
			close(many[n].fd);
			break;
		}
	}
	return n;
}

static void close_many(int n)
{
	while (n-- > 0)
		close(many[n].fd);
	settle();
}

static const struct nmreq_register small = { .nr_mode = NR_REG_ALL_NIC, .nr_tx_slots = 8, .nr_rx_slots = 8 };

static void ports(void)
{
	int error, n = open_many("valey:%d", 300, small, &error);
	fact("on_one_switch", "%d then %s", n, error_name(error));
	struct nmreq_register reg = small;
	fact_error("existing", request(NETMAP_REQ_REGISTER, "valey:3", &reg));
	reg = small;
	fact_error("other_switch", request(NETMAP_REQ_REGISTER, "valez:3", &reg));
	close(many[7].fd);
	many[7].fd = -1;
	settle();
	reg = small;
	fact_error("in_the_gap", request(NETMAP_REQ_REGISTER, "valey:new", &reg));
	close_many(n);
}

static void switches(void)
{
	int error, n = open_many("vale%d:p", 20, small, &error);
	fact("switches", "%d then %s", n, error_name(error));
	struct nmreq_vale_attach attach = { .reg = { .nr_mode = NR_REG_ALL_NIC } };
	fact_error("attach_nothing", request(NETMAP_REQ_VALE_ATTACH, "valenew:x", &attach));
	struct nmreq_port_info_get info = { 0 };
	fact_error("info_new", request(NETMAP_REQ_PORT_INFO_GET, "valenew:x", &info));
	fact_error("info_there", request(NETMAP_REQ_PORT_INFO_GET, "vale0:x", &info));
	close_many(n);
	struct nmreq_register reg = small;
	fact_error("free_again", request(NETMAP_REQ_REGISTER, "valenew:x", &reg));
}

static void pipes(void)
{
	int error, n = open_many("pn{%d", 100, small, &error);
	fact("on_nothing", "%d then %s", n, error_name(error));
	close_many(n);
	n = open_many("valey:p{%d", 100, small, &error);
	fact("on_vale_port", "%d then %s", n, error_name(error));
	close_many(n);
	struct nmreq_register global = small;
	global.nr_mem_id = 1;
	n = open_many("pg{%d", 100, global, &error);
	fact("in_global_memory", "%d then %s", n, error_name(error));
	close_many(n);
}

static void rings(void)
{
	static const unsigned wanted[] = { 1, 16, 17, 64, 65535 };
	char key[32];
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		OPEN(p, "valey:r", .nr_tx_rings = (uint16_t)wanted[i], .nr_rx_rings = (uint16_t)wanted[i], .nr_tx_slots = 4,
			.nr_rx_slots = 4);
		snprintf(key, sizeof key, "vale_%u", wanted[i]);
		fact(key, "%s %u,%u", error_name(p.error), p.reg.nr_tx_rings, p.reg.nr_rx_rings);
		close_port(&p);
	}
	static const unsigned slots[] = { 1, 2, 3, 4096, 4097, 1000000, 0xffffffff };
	for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
		OPEN(p, "valey:s", .nr_tx_slots = slots[i], .nr_rx_slots = slots[i]);
		snprintf(key, sizeof key, "slots_%u", slots[i]);
		fact(key, "%s %u,%u", error_name(p.error), p.reg.nr_tx_slots, p.reg.nr_rx_slots);
		close_port(&p);
	}
}

/* A ring of one slot has no room at all, one of two has one. */
static void small_rings(void)
{
	MUST_OPEN(one, "valey:1", .nr_tx_slots = 1, .nr_rx_slots = 1);
	MUST_OPEN(two, "valey:2", .nr_tx_slots = 2, .nr_rx_slots = 2);
	fact_ring("one.tx", txring(&one, 0));
	fact_ring("two.tx", txring(&two, 0));
	fact_error("one.txsync", txsync(&one));
	fact("one.poll", "%s", poll_result(one.fd, POLLIN | POLLOUT, 0));
	for (int i = 0; i < 3; i++) {
		put_on(txring(&two, 0), mac_all, mac_a, 60, i, 0);
		txsync(&two);
	}
	fact_ring("two.tx_after", txring(&two, 0));
	fact_received("one.received", &one, 0);
	MUST_OPEN(other, "valey:3");
	put_on(txring(&other, 0), mac_all, mac_b, 60, 7, 0);
	put_on(txring(&other, 0), mac_all, mac_b, 60, 8, 0);
	txsync(&other);
	fact_received("two.received", &two, 0);
}

static void descriptors(void)
{
	int error, n = open_many("valey:same", 200, small, &error);
	fact("on_one_port", "%d %s", n, error_name(error));
	close_many(n);
	n = open_many("valey:unbound", 1, small, &error);
	struct nmreq_register monitor = { .nr_mode = NR_REG_ALL_NIC, .nr_flags = NR_MONITOR_TX, .nr_tx_slots = 4,
		.nr_rx_slots = 4 };
	struct port first = many[0];
	int monitors = open_many("valey:unbound", 70, monitor, &error);
	fact("copy_monitors", "%d %s", monitors, error_name(error));
	close_many(monitors);
	close(first.fd);
}

SCENARIO("switch", "limits: ports, switches, pipes, rings, slots, descriptors, monitors",
	{ "ports", ports }, { "switches", switches }, { "pipes", pipes }, { "rings", rings }, { "small_rings", small_rings },
	{ "descriptors", descriptors })
