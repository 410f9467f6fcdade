/*
 * Persistent VALE ports: made, attached, opened, detached, deleted, in every order that is refused or not.
 *
 * On the kernel some cases leave a port behind that can be neither detached nor deleted: a port on a switch
 * goes back to the name of its interface when it is opened or asked about, and is then not found by its name
 * on the switch. With such a port the module cannot be unloaded: the machine has to be rebooted before the next run.
 */
#include "scenario.h"

static int newif(const char *name) { struct nmreq_vale_newif body = { 0 };
	return request(NETMAP_REQ_VALE_NEWIF, name, &body); }
static int delif(const char *name) { return request(NETMAP_REQ_VALE_DELIF, name, NULL); }

static struct nmreq_vale_attach attached;
static int attach_with(const char *name, struct nmreq_register reg)
{
	memset(&attached, 0, sizeof attached);
	attached.reg = reg;
	return request(NETMAP_REQ_VALE_ATTACH, name, &attached);
}

static int attach(const char *name) { return attach_with(name, (struct nmreq_register){ .nr_mode = NR_REG_ALL_NIC }); }

static struct nmreq_vale_detach detached;
static int detach(const char *name)
{
	memset(&detached, 0, sizeof detached);
	return request(NETMAP_REQ_VALE_DETACH, name, &detached);
}

/* The entries of VALE_LIST's walk that end in `name`, with their port numbers: other cases may have left ports. */
static void fact_list(const char *key, const char *name)
{
	char text[512] = "";
	struct nmreq_vale_list list = { 0 };
	struct nmreq_header header;
	int fd = open_device(), used = 0;
	for (int i = 0; i < 50; i++, list.nr_port_idx++) {
		make_header(&header, NETMAP_REQ_VALE_LIST, "", &list, NULL);
		if (ioctl(fd, NIOCCTRL, &header) < 0)
			break;
		const char *colon = strchr(header.nr_name, ':');
		if (!strcmp(colon ? colon + 1 : header.nr_name, name))
			used += snprintf(text + used, sizeof text - (size_t)used, "%s%s@%u", used ? " " : "", header.nr_name,
				list.nr_port_idx);
	}
	close(fd);
	fact(key, "%s", text);
}

static void make_and_delete(void)
{
	static const char *names[] = { "", "vale0:z", "vale", "valez", "abcdefghijklmno", "abcdefghijklmnop", "a/b",
		"a:b", "a b",
		".", "..", "VALEz", "z{1", "z}1", "z^", "\xc3\xa9" };
	char key[64];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		int made = newif(names[i]), again = newif(names[i]);
		snprintf(key, sizeof key, "name[%s]", names[i]);
		fact(key, "%s %s", error_name(made), error_name(again));
		snprintf(key, sizeof key, "name[%s].deleted", names[i]);
		int deleted = delif(names[i]);
		fact(key, "%s %s", error_name(deleted), error_name(delif(names[i])));
	}
	struct nmreq_vale_newif body = { .nr_tx_rings = 17, .nr_rx_rings = 0, .nr_tx_slots = 5000, .nr_rx_slots = 0 };
	fact_error("bounds", request(NETMAP_REQ_VALE_NEWIF, "z0", &body));
	fact("bounds.out", "tx %u,%u rx %u,%u mem %s", body.nr_tx_rings, body.nr_tx_slots, body.nr_rx_rings, body.nr_rx_slots,
		body.nr_mem_id > 1 ? "own" : "other");
	struct nmreq_vale_newif same = { .nr_tx_rings = 3 };
	fact_error("exists", request(NETMAP_REQ_VALE_NEWIF, "z0", &same));
	fact("exists.out", "tx_rings %u", same.nr_tx_rings);
	struct nmreq_port_info_get info = { 0 };
	fact_error("info", request(NETMAP_REQ_PORT_INFO_GET, "z0", &info));
	fact("info.out", "tx %u,%u rx %u,%u host %u,%u", info.nr_tx_rings, info.nr_tx_slots, info.nr_rx_rings,
		info.nr_rx_slots,
		info.nr_host_tx_rings, info.nr_host_rx_rings);
	fact_error("delif", delif("z0"));
	fact_error("info_gone", request(NETMAP_REQ_PORT_INFO_GET, "z0", &info));
	struct nmreq_vale_newif bad_mem = { .nr_mem_id = 9999 }, shared = { .nr_mem_id = 1 };
	fact_error("bad_mem", request(NETMAP_REQ_VALE_NEWIF, "z0", &bad_mem));
	fact_error("bad_mem_left", delif("z0"));
	fact_error("global_mem", request(NETMAP_REQ_VALE_NEWIF, "z0", &shared));
	fact("global_mem.out", "mem %u", shared.nr_mem_id);
	fact_error("global_mem_delif", delif("z0"));
	fact_error("delif_vale_name", delif("vale0:z"));
	fact_error("delif_empty", delif(""));
}

/* Open on its own, without any switch. */
static void unattached(void)
{
	NEED(newif("z1") == 0);
	MUST_OPEN(p, "z1");
	fact("open", "tx %u rx %u host %u,%u name %s", p.reg.nr_tx_rings, p.reg.nr_rx_rings, p.reg.nr_host_tx_rings,
		p.reg.nr_host_rx_rings, p.nifp->ni_name);
	put(&p, 1);
	fact_error("txsync", txsync(&p));
	fact_ring("tx", txring(&p, 0));
	fact("poll", "%s", poll_result(p.fd, POLLIN | POLLOUT, 0));
	fact_error("delif_open", delif("z1"));
	fact_error("attach_open", attach("vale0:z1"));
	OPEN(second, "z1");
	fact_error("open_twice", second.error);
	close_port(&second);
	OPEN(by_switch, "vale0:z1");
	fact_error("open_by_switch_name", by_switch.error);
	close_port(&by_switch);
	fact_list("list", "z1");
	close_port(&p);
	OPEN(sw, "z1", .nr_mode = NR_REG_SW);
	fact_error("host_rings", sw.error);
	close_port(&sw);
	OPEN(rings, "z1", .nr_tx_rings = 4, .nr_tx_slots = 16);
	fact("other_size", "%s tx %u,%u", error_name(rings.error), rings.reg.nr_tx_rings, rings.reg.nr_tx_slots);
	close_port(&rings);
	fact_error("delif", delif("z1"));
}

/* On a switch, and what is refused while it is there. */
static void on_switch(void)
{
	NEED(newif("z2") == 0);
	fact_error("attach_nothing", attach("vale0:nope"));
	fact_error("attach_no_prefix", attach("z2"));
	fact_error("attach", attach("vale0:z2"));
	fact("attach.index", "%u", attached.port_index);
	fact_list("list", "z2");
	fact_error("attach_again", attach("vale0:z2"));
	fact_error("delif_attached", delif("z2"));
	OPEN(by_switch, "vale0:z2");
	fact_error("open_by_switch_name", by_switch.error);
	close_port(&by_switch);
	struct nmreq_port_info_get info = { 0 };
	fact_error("info_by_switch_name", request(NETMAP_REQ_PORT_INFO_GET, "vale0:z2", &info));
	fact_error("detach", detach("vale0:z2"));
	fact("detach.index", "%u", detached.port_index);
	fact_error("detach_again", detach("vale0:z2"));
	fact_error("delif", delif("z2"));
	fact_list("list_end", "z2");
}

/* Packets through it: opened by its own name, a port of the switch like any other. */
static void traffic(void)
{
	NEED(newif("z3") == 0);
	fact_error("attach", attach("vale1:z3"));
	MUST_OPEN(o, "vale1:o");
	put_on(txring(&o, 0), mac_all, mac_a, 60, 1, 0);
	fact_error("sent_to_closed", txsync(&o));
	MUST_OPEN(z, "z3");
	fact("name", "%s", z.nifp->ni_name);
	fact_received("nothing_kept", &z, 0);
	put_on(txring(&o, 0), mac_all, mac_a, 60, 2, 0);
	txsync(&o);
	fact_received("received", &z, 0);
	put_on(txring(&z, 0), mac_a, mac_b, 60, 3, 0);
	fact_error("send", txsync(&z));
	fact_received("sent", &o, 0);
	fact_list("list_open", "z3");
	fact_error("detach_open", detach("vale1:z3"));
	fact_error("delif_open", delif("z3"));
	put_on(txring(&o, 0), mac_all, mac_a, 60, 4, 0);
	txsync(&o);
	fact_received("after_detach", &z, 0);
	close_port(&z);
	close_port(&o);
	fact_error("detach_closed", detach("vale1:z3"));
	fact_error("delif", delif("z3"));
	fact_list("list_end", "z3");
}

/* With another memory than its own. */
static void attach_with_memory(void)
{
	NEED(newif("z4") == 0);
	MUST_OPEN(z, "z4");
	close_port(&z);
	fact_error("attach_closed", attach("vale2:z4"));
	fact_error("detach", detach("vale2:z4"));
	fact_error("attach", attach_with("vale2:z4", (struct nmreq_register){ .nr_mode = 1, .nr_mem_id = 1 }));
	struct nmreq_port_info_get info = { 0 };
	fact_error("info", request(NETMAP_REQ_PORT_INFO_GET, "z4", &info));
	fact("info.mem", "%s", info.nr_mem_id == 1 ? "1" : "other");
	fact_error("attach_bad_memory", attach_with("vale2:z4", (struct nmreq_register){ .nr_mode = 1, .nr_mem_id = 9999 }));
	fact_error("detach_twice", detach("vale2:z4"));
	fact_error("delif", delif("z4"));
}

/* The same port on two switches. */
static void two_switches(void)
{
	NEED(newif("z5") == 0);
	fact_error("first", attach("vale3:z5"));
	fact_error("same_switch", attach("vale3:z5"));
	fact_error("second", attach("vale4:z5"));
	fact_list("list", "z5");
	OPEN(z, "z5");
	fact_error("open", z.error);
	close_port(&z);
	fact_error("delif", delif("z5"));
	fact_error("third", attach("vale5:z5"));
	fact_error("detach_first", detach("vale3:z5"));
	fact_error("detach_second", detach("vale4:z5"));
	fact_error("detach_first_now", detach("vale3:z5"));
	fact_error("delif_now", delif("z5"));
	fact_list("list_end", "z5");
}

/* Two switches that are joined by a port that both have pass packets through it. */
static void two_switches_traffic(void)
{
	NEED(newif("z6") == 0 && attach("vale3:z6") == 0);
	fact_error("second", attach("vale4:z6"));
	MUST_OPEN(a, "vale3:a");
	MUST_OPEN(b, "vale4:b");
	put_on(txring(&a, 0), mac_all, mac_a, 60, 0x11, 0);
	fact_error("a_txsync", txsync(&a));
	fact_received("b", &b, 0);
	put_on(txring(&b, 0), mac_a, mac_b, 60, 0x22, 0);
	fact_error("b_txsync", txsync(&b));
	fact_received("a", &a, 0);
}

/*
 * What is asked for and refused on the two names of a port that is on two switches. It has as many tx as rx rings:
 * where it has not, netmap 89607e14 follows a null pointer in the second VALE_ATTACH.
 */
static void two_switches_requests(void)
{
	struct nmreq_vale_newif body = { .nr_tx_rings = 3, .nr_rx_rings = 3, .nr_tx_slots = 64, .nr_rx_slots = 128 };
	NEED(request(NETMAP_REQ_VALE_NEWIF, "z9", &body) == 0 && attach("vale5:z9") == 0);
	struct nmreq_register one_ring = { .nr_mode = NR_REG_ONE_NIC }, host = { .nr_mode = NR_REG_NIC_SW };
	struct nmreq_register second = { .nr_mode = NR_REG_ALL_NIC, .nr_ringid = 1 }, none = { .nr_mode = NR_REG_DEFAULT };
	fact_error("attach_one_ring", attach_with("vale6:z9", one_ring));
	fact_error("attach_host_rings", attach_with("vale6:z9", host));
	fact_error("attach_second_ring", attach_with("vale6:z9", second));
	fact_error("attach_default", attach_with("vale6:z9", none));
	fact_list("refused", "z9");
	OPEN(z, "z9");
	fact_error("attach_open", attach("vale6:z9"));
	close_port(&z);
	MUST_OPEN(other, "vale6:other");
	fact_error("attach", attach("vale6:z9"));
	fact("index", "%u", attached.port_index);
	OPEN(by_switch, "vale6:z9");
	fact_error("open_by_switch_name", by_switch.error);
	OPEN(by_first, "vale5:z9");
	fact_error("open_by_first_name", by_first.error);
	struct nmreq_port_info_get info = { 0 };
	fact_error("info", request(NETMAP_REQ_PORT_INFO_GET, "z9", &info));
	fact("info.out", "tx %u,%u rx %u,%u", info.nr_tx_rings, info.nr_tx_slots, info.nr_rx_rings, info.nr_rx_slots);
	struct nmreq_port_info_get swapped = { 0 };
	fact_error("info_by_switch_name", request(NETMAP_REQ_PORT_INFO_GET, "vale6:z9", &swapped));
	fact("info_by_switch_name.out", "tx %u,%u rx %u,%u", swapped.nr_tx_rings, swapped.nr_tx_slots, swapped.nr_rx_rings,
		swapped.nr_rx_slots);
	fact("same_mem", "%d", info.nr_mem_id == swapped.nr_mem_id);
	struct nmreq_port_hdr hdr = { .nr_hdr_len = 12 };
	fact_error("hdr_set", request(NETMAP_REQ_PORT_HDR_SET, "vale6:z9", &hdr));
	fact_error("hdr_get", request(NETMAP_REQ_PORT_HDR_GET, "z9", &hdr));
	fact("hdr_get.len", "%u", hdr.nr_hdr_len);
	fact_error("newif", newif("z9"));
	fact_error("delif", delif("z9"));
	OPEN(pipe, "vale6:z9{1");
	fact_error("pipe", pipe.error);
	fact_error("detach", detach("vale6:z9"));
	fact("detach.index", "%u", detached.port_index);
	fact_error("detach_again", detach("vale6:z9"));
	fact_list("list_free", "z9");
	OPEN(free, "z9");
	fact_error("open_free", free.error);
}

/* What can be opened by each name of a port, `when` it is on no, one or two switches. */
static void open_by_all_names(const char *when, const char *port)
{
	static const char *switches[] = { "", "vale5:", "vale6:" }, *pipes[] = { "{1", "}2" };
	static const struct { const char *name; uint32_t mode; uint64_t flags; } kinds[] = {
		{ "plain", NR_REG_ALL_NIC, 0 }, { "mon_rx", NR_REG_ALL_NIC, NR_MONITOR_RX },
		{ "mon_tx", NR_REG_ALL_NIC, NR_MONITOR_TX }, { "mon_zc", NR_REG_ALL_NIC, NR_MONITOR_RX | NR_ZCOPY_MON },
		{ "mon_sw", NR_REG_SW, NR_MONITOR_RX }, { "one", NR_REG_ONE_NIC, 0 }, { "sw", NR_REG_SW, 0 },
	};
	char name[64], key[96];
	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < 2; j++) {
			snprintf(name, sizeof name, "%s%s%s", switches[i], port, pipes[j]);
			OPEN(pipe, name);
			snprintf(key, sizeof key, "[%s]", name);
			fact_error(key, pipe.error);
			close_port(&pipe);
			OPEN(monitor, name, .nr_flags = NR_MONITOR_TX);
			snprintf(key, sizeof key, "[%s]mon", name);
			fact_error(key, monitor.error);
			close_port(&monitor);
		}
		if (i == 0 && strcmp(when, "none"))
			continue; /* opening a port on a switch changes its name there */
		for (int j = strcmp(when, "two") ? 1 : 0; j < 7; j++) {
			snprintf(name, sizeof name, "%s%s", switches[i], port);
			OPEN(p, name, .nr_mode = kinds[j].mode, .nr_flags = kinds[j].flags);
			snprintf(key, sizeof key, "[%s]%s", name, kinds[j].name);
			fact_error(key, p.error);
			close_port(&p);
		}
	}
}

static void names_none(void)
{
	NEED(newif("y0") == 0);
	open_by_all_names("none", "y0");
}

static void names_one(void)
{
	NEED(newif("y1") == 0 && attach("vale5:y1") == 0);
	open_by_all_names("one", "y1");
}

static void names_two(void)
{
	NEED(newif("y2") == 0 && attach("vale5:y2") == 0 && attach("vale6:y2") == 0);
	open_by_all_names("two", "y2");
}

/* Fragments, addresses and directions through such a port. */
static void two_switches_kinds(void)
{
	NEED(newif("z10") == 0 && attach("vale5:z10") == 0 && attach("vale6:z10") == 0);
	MUST_OPEN(a, "vale5:a");
	MUST_OPEN(b, "vale6:b");
	MUST_OPEN(c, "vale6:c");
	put_on(txring(&a, 0), mac_all, mac_a, 60, 1, NS_MOREFRAG);
	put_on(txring(&a, 0), mac_all, mac_a, 50, 2, NS_MOREFRAG);
	put_on(txring(&a, 0), mac_all, mac_a, 40, 3, 0);
	txsync(&a);
	fact_received("fragments", &b, 0);
	fact_received("fragments_c", &c, 0);
	put_on(txring(&b, 0), mac_a, mac_b, 60, 4, 0);
	txsync(&b);
	fact_received("learned", &a, 0);
	fact_received("learned_c", &c, 0);
	put_on(txring(&a, 0), mac_b, mac_a, 60, 5, 0);
	txsync(&a);
	fact_received("back", &b, 0);
	fact_received("back_c", &c, 0);
	NEED(detach("vale6:z10") == 0);
	put_on(txring(&a, 0), mac_all, mac_a, 60, 6, 0);
	fact_error("parted", txsync(&a));
	fact_received("parted_b", &b, 0);
}

/* Two ports on the same two switches: a packet goes round once by each. */
static void two_switches_twice(void)
{
	NEED(newif("z11") == 0 && attach("vale5:z11") == 0 && attach("vale6:z11") == 0);
	NEED(newif("z12") == 0 && attach("vale5:z12") == 0 && attach("vale6:z12") == 0);
	MUST_OPEN(a, "vale5:a");
	MUST_OPEN(b, "vale6:b");
	put_on(txring(&a, 0), mac_all, mac_a, 60, 1, 0);
	fact_error("txsync", txsync(&a));
	fact_received("a", &a, 0);
	fact_received("b", &b, 0);
}

/* Pipes on a persistent port, and monitors of it. */
static void pipes_on_it(void)
{
	NEED(newif("z7") == 0);
	MUST_OPEN(m, "z7{1");
	MUST_OPEN(s, "z7}1");
	put(&m, 0x31);
	txsync(&m);
	fact_received("pipe", &s, 0);
	fact_error("delif_with_pipe", delif("z7"));
	OPEN(z, "z7");
	fact("open_too", "%s same_mem %d", error_name(z.error), z.reg.nr_mem_id == m.reg.nr_mem_id);
	close_port(&z);
	fact_error("attach_with_pipe", attach("vale0:z7"));
	fact_error("detach_with_pipe", detach("vale0:z7"));
	close_port(&m);
	close_port(&s);
	fact_error("delif", delif("z7"));
}

/* The port that netmap makes by itself for a pipe whose base is no interface. */
static void made_for_pipe(void)
{
	MUST_OPEN(m, "zz{1");
	fact_error("newif", newif("zz"));
	fact_error("delif", delif("zz"));
	OPEN(z, "zz");
	fact("open", "%s same_mem %d", error_name(z.error), z.reg.nr_mem_id == m.reg.nr_mem_id);
	fact_error("attach_open", attach("vale0:zz"));
	close_port(&m);
	struct nmreq_port_info_get info = { 0 };
	fact_error("after_pipe", request(NETMAP_REQ_PORT_INFO_GET, "zz", &info));
	close_port(&z);
	fact_error("after_all", request(NETMAP_REQ_PORT_INFO_GET, "zz", &info));
}

/* Header lengths and polling are asked for by the name on the switch. */
static void other_requests(void)
{
	struct nmreq_port_hdr hdr = { .nr_hdr_len = 12 };
	struct nmreq_vale_polling polling = { .nr_mode = NETMAP_POLLING_MODE_SINGLE_CPU, .nr_num_polling_cpus = 1 };
	NEED(newif("z8") == 0);
	fact_error("hdr_set_unattached", request(NETMAP_REQ_PORT_HDR_SET, "z8", &hdr));
	hdr.nr_hdr_len = 77;
	fact_error("hdr_get_unattached", request(NETMAP_REQ_PORT_HDR_GET, "z8", &hdr));
	fact("hdr_get_unattached.len", "%u", hdr.nr_hdr_len);
	NEED(attach("vale0:z8") == 0);
	hdr.nr_hdr_len = 12;
	fact_error("hdr_set", request(NETMAP_REQ_PORT_HDR_SET, "vale0:z8", &hdr));
	fact_error("polling", request(NETMAP_REQ_VALE_POLLING_ENABLE, "vale0:z8", &polling));
	OPEN(plain, "z8");
	fact_error("open_without_header", plain.error);
	close_port(&plain);
	OPEN(with, "z8", .nr_flags = NR_ACCEPT_VNET_HDR);
	fact_error("open_with_header", with.error);
	close_port(&with);
	hdr.nr_hdr_len = 77;
	fact_error("hdr_get_by_interface", request(NETMAP_REQ_PORT_HDR_GET, "z8", &hdr));
	fact("hdr_get_by_interface.len", "%u", hdr.nr_hdr_len);
}

SCENARIO("switch", "persistent VALE ports beyond the basic cycle",
	{ "make_and_delete", make_and_delete }, { "unattached", unattached }, { "on_switch", on_switch },
	{ "traffic", traffic },
	{ "attach_with_memory", attach_with_memory }, { "two_switches", two_switches },
	{ "two_switches_traffic", two_switches_traffic }, { "two_switches_requests", two_switches_requests },
	{ "two_switches_kinds", two_switches_kinds }, { "two_switches_twice", two_switches_twice },
	{ "pipes_on_it", pipes_on_it }, { "made_for_pipe", made_for_pipe },
	{ "other_requests", other_requests }, { "names_none", names_none }, { "names_one", names_one },
	{ "names_two", names_two })
