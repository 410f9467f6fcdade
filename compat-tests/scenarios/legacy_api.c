/* The API of struct nmreq: commands, names with pipe modes, what each argument means, what is written back. */
#include "scenario.h"

static struct nmreq fresh(const char *name, unsigned command)
{
	struct nmreq r;
	memset(&r, 0, sizeof r);
	strncpy(r.nr_name, name, sizeof r.nr_name);
	r.nr_version = 14;
	r.nr_cmd = (uint16_t)command;
	return r;
}

static int regif_on(int fd, struct nmreq *r) { return ERROR_OF(ioctl(fd, NIOCREGIF, r)); }

static int regif(struct nmreq *r)
{
	int fd = open_device(), error = regif_on(fd, r);
	close(fd);
	return error;
}

static int ginfo(struct nmreq *r)
{
	int fd = open_device(), error = ERROR_OF(ioctl(fd, NIOCGINFO, r));
	close(fd);
	return error;
}

static void fact_request(const char *key, int error, const struct nmreq *r)
{
	fact(key, "%s name %.16s rings %u,%u slots %u,%u ringid 0x%x cmd %u arg1 %u arg2 %s arg3 %u flags 0x%x version %u",
		error_name(error), r->nr_name, r->nr_tx_rings, r->nr_rx_rings, r->nr_tx_slots, r->nr_rx_slots, r->nr_ringid,
		r->nr_cmd, r->nr_arg1, r->nr_arg2 > 1 ? ">1" : r->nr_arg2 ? "1" : "0", r->nr_arg3, r->nr_flags, r->nr_version);
}

/* Modes, in nr_flags and, from before there were flags, in nr_ringid. */
static void modes(void)
{
	static const struct { const char *key; uint32_t flags; uint16_t ringid; } cases[] = {
		{ "default_all", 0, 0 }, { "default_hw", 0, NETMAP_HW_RING | 1 }, { "default_sw", 0, NETMAP_SW_RING },
		{ "default_hw_sw", 0, NETMAP_HW_RING | NETMAP_SW_RING }, { "default_number_only", 0, 1 },
		{ "all_number", NR_REG_ALL_NIC, 1 }, { "all_hw_bit", NR_REG_ALL_NIC, NETMAP_HW_RING | 1 },
		{ "one", NR_REG_ONE_NIC, 1 },
		{ "one_beyond", NR_REG_ONE_NIC, 2 }, { "sw", NR_REG_SW, 0 }, { "nic_sw", NR_REG_NIC_SW, 0 },
		{ "null", NR_REG_NULL, 0 },
		{ "mode_9", 9, 0 }, { "mode_15", 15, 0 }, { "no_tx_poll", NR_REG_ALL_NIC, NETMAP_NO_TX_POLL },
		{ "do_rx_poll", NR_REG_ALL_NIC, NETMAP_DO_RX_POLL }, { "flag_no_tx_poll", NR_REG_ALL_NIC | NR_NO_TX_POLL, 0 },
		{ "unknown_flags", NR_REG_ALL_NIC | 0x40000, 0 }, { "rings_only", NR_REG_ALL_NIC | NR_TX_RINGS_ONLY, 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct nmreq r = fresh("valel:m", 0);
		r.nr_tx_rings = r.nr_rx_rings = 2;
		r.nr_flags = cases[i].flags;
		r.nr_ringid = cases[i].ringid;
		int error = regif(&r);
		fact_request(cases[i].key, error, &r);
	}
}

/* Does NETMAP_NO_TX_POLL in nr_ringid do what it says? */
static void poll_bits(void)
{
	MUST_OPEN(b, "valel:b");
	struct port a = { .fd = open_device() };
	struct nmreq r = fresh("valel:a", 0);
	r.nr_flags = NR_REG_ALL_NIC;
	r.nr_ringid = NETMAP_NO_TX_POLL;
	fact_error("register", regif_on(a.fd, &r));
	a.reg.nr_memsize = r.nr_memsize;
	a.reg.nr_offset = r.nr_offset;
	fact_error("mmap", map_port(&a));
	put(&a, 1);
	fact("poll", "%s", poll_result(a.fd, POLLIN, 0));
	fact("arrived", "%u", drain(&b));
	fact_error("txsync", txsync(&a));
	fact("arrived_then", "%u", drain(&b));
}

static void pipes(void)
{
	static const struct { const char *key, *name; uint32_t flags; uint16_t ringid; } cases[] = {
		{ "master", "lp", NR_REG_PIPE_MASTER, 3 }, { "slave", "lp", NR_REG_PIPE_SLAVE, 3 },
		{ "ringid_masked", "lp", NR_REG_PIPE_MASTER, NETMAP_HW_RING | 5 }, { "by_name", "lp{7", NR_REG_ALL_NIC, 0 },
		{ "by_name_and_mode", "lp{7", NR_REG_PIPE_MASTER, 1 }, { "name_15", "abcdefghijklmno", NR_REG_PIPE_MASTER, 4095 },
		{ "name_16", "abcdefghijklmnop", NR_REG_PIPE_MASTER, 1 }, { "empty", "", NR_REG_PIPE_MASTER, 1 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct nmreq r = fresh(cases[i].name, 0);
		r.nr_flags = cases[i].flags;
		r.nr_ringid = cases[i].ringid;
		int error = regif(&r);
		fact_request(cases[i].key, error, &r);
	}
	struct nmreq m = fresh("lp", 0);
	m.nr_flags = NR_REG_PIPE_MASTER;
	m.nr_ringid = 9;
	int fd = open_device();
	fact_error("open_master", regif_on(fd, &m));
	OPEN(slave, "lp}9");
	fact("slave_by_name", "%s same_memory %d", error_name(slave.error), slave.reg.nr_mem_id == m.nr_arg2);
}

static void arguments(void)
{
	struct nmreq r = fresh("valel:x", 0);
	r.nr_flags = NR_REG_ALL_NIC;
	r.nr_tx_rings = 100;
	r.nr_rx_slots = 10000;
	r.nr_arg1 = 7;
	r.nr_arg3 = 12;
	int error = regif(&r);
	fact_request("written_back", error, &r);
	r = fresh("valel:x", 0);
	r.nr_flags = NR_REG_ALL_NIC;
	r.nr_arg2 = 1;
	error = regif(&r);
	fact_request("global_memory", error, &r);
	fact("global_memory.size", "%u", r.nr_memsize);
	r = fresh("valel:x", 0);
	r.nr_arg2 = 9999;
	r.nr_tx_rings = 100;
	error = regif(&r);
	fact_request("bad_memory", error, &r);
	r = fresh("valel:x", 0);
	r.nr_arg3 = 5000;
	r.nr_flags = NR_REG_ALL_NIC;
	error = regif(&r);
	fact("many_extra", "%s %u", error_name(error), r.nr_arg3);
	r = fresh("", 0);
	r.nr_flags = NR_REG_NULL;
	r.nr_arg2 = 1;
	error = regif(&r);
	fact_request("null_port", error, &r);
}

static void commands(void)
{
	char key[48];
	struct nmreq r;
	for (unsigned command = 0; command <= 20; command++) {
		if (command == NETMAP_BDG_NEWIF || command == NETMAP_BDG_DELIF)
			continue;
		r = fresh("valel:c", command);
		r.nr_flags = NR_REG_ALL_NIC;
		r.nr_arg1 = 2;
		snprintf(key, sizeof key, "regif%u", command);
		int error = regif(&r);
		fact_request(key, error, &r);
		r = fresh("valel:c", command);
		r.nr_arg1 = 2;
		snprintf(key, sizeof key, "ginfo%u", command);
		error = ginfo(&r);
		fact_request(key, error, &r);
	}
	r = fresh("valel:c", 65535);
	fact_error("regif65535", regif(&r));
}

static void persistent(void)
{
	struct nmreq r = fresh("l0", NETMAP_BDG_NEWIF);
	r.nr_tx_rings = 2;
	r.nr_rx_slots = 64;
	int error = regif(&r);
	fact_request("newif", error, &r);
	r = fresh("l0", NETMAP_BDG_NEWIF);
	fact_error("newif_again", regif(&r));
	r = fresh("valel:l0", NETMAP_BDG_ATTACH);
	error = regif(&r);
	fact_request("attach", error, &r);
	r = fresh("valel:l0", NETMAP_BDG_ATTACH);
	fact_error("attach_again", regif(&r));
	r = fresh("valel:l0", NETMAP_BDG_POLLING_ON);
	r.nr_flags = NR_REG_ALL_NIC;
	r.nr_arg1 = 1;
	fact_error("polling", regif(&r));
	r = fresh("l0", NETMAP_BDG_DELIF);
	fact_error("delif_attached", regif(&r));
	r = fresh("valel:l0", NETMAP_BDG_DETACH);
	error = regif(&r);
	fact_request("detach", error, &r);
	r = fresh("l0", NETMAP_BDG_DELIF);
	fact_error("delif", regif(&r));
	r = fresh("l0", NETMAP_BDG_DELIF);
	fact_error("delif_again", regif(&r));
	r = fresh("valel:nope", NETMAP_BDG_ATTACH);
	r.nr_arg1 = NETMAP_BDG_HOST;
	fact_error("attach_nothing", regif(&r));
}

static void headers(void)
{
	MUST_OPEN(a, "valel:h");
	struct nmreq r = fresh("valel:h", NETMAP_BDG_VNET_HDR);
	r.nr_arg1 = 12;
	int error = regif(&r);
	fact_request("set", error, &r);
	r = fresh("valel:h", NETMAP_VNET_HDR_GET);
	error = regif(&r);
	fact_request("get", error, &r);
	r = fresh("valel:h", NETMAP_BDG_VNET_HDR);
	r.nr_arg1 = 11;
	fact_error("set_bad", regif(&r));
	r = fresh("valel:h", 0);
	r.nr_flags = NR_REG_ALL_NIC;
	fact_error("second_without", regif(&r));
	r = fresh("valel:h", 0);
	r.nr_flags = NR_REG_ALL_NIC | NR_ACCEPT_VNET_HDR;
	fact_error("second_with", regif(&r));
}

static void lists(void)
{
	MUST_OPEN(a, "valel:a");
	MUST_OPEN(b, "valel:b");
	struct nmreq r = fresh("", NETMAP_BDG_LIST);
	int error = ginfo(&r);
	fact("first", "%s %.16s %u,%u", error_name(error), r.nr_name, r.nr_arg1, r.nr_arg2);
	r.nr_arg2++;
	memset(r.nr_name, 0, sizeof r.nr_name);
	error = ginfo(&r);
	fact("second", "%s %.16s %u,%u", error_name(error), r.nr_name, r.nr_arg1, r.nr_arg2);
	r.nr_arg2++;
	memset(r.nr_name, 0, sizeof r.nr_name);
	error = ginfo(&r);
	fact("end", "%s %.16s %u,%u", error_name(error), r.nr_name, r.nr_arg1, r.nr_arg2);
	r = fresh("valel:b", NETMAP_BDG_LIST);
	error = ginfo(&r);
	fact("by_name", "%s %u,%u", error_name(error), r.nr_arg1, r.nr_arg2);
	r = fresh("valel:", NETMAP_BDG_LIST);
	error = ginfo(&r);
	fact("by_switch", "%s %u,%u", error_name(error), r.nr_arg1, r.nr_arg2);
	r = fresh("", NETMAP_BDG_LIST);
	fact_error("by_regif", regif(&r));
}

static void versions(void)
{
	static const unsigned numbers[] = { 0, 4, 11, 13, 14, 15, 16, 20, 0x80000000u };
	char key[32];
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		struct nmreq r = fresh("valel:v", 0);
		r.nr_flags = NR_REG_ALL_NIC;
		r.nr_version = numbers[i];
		int error = regif(&r);
		snprintf(key, sizeof key, "regif_%u", numbers[i]);
		fact(key, "%s %u", error_name(error), r.nr_version);
		r = fresh("", 0);
		r.nr_version = numbers[i];
		error = ginfo(&r);
		snprintf(key, sizeof key, "ginfo_%u", numbers[i]);
		fact(key, "%s %u", error_name(error), r.nr_version);
	}
}

/* Other requests that old programs try on the device. */
static void others(void)
{
	int fd = open_device();
	struct nm_ifreq config = { 0 };
	char bytes[64] = { 0 };
	fact_error("config", ERROR_OF(ioctl(fd, NIOCCONFIG, &config)));
	strcpy(config.nifr_name, "valel:x");
	fact_error("config_vale", ERROR_OF(ioctl(fd, NIOCCONFIG, &config)));
	fact_error("config_null", ERROR_OF(ioctl(fd, NIOCCONFIG, NULL)));
	fact_error("config_nowhere", ERROR_OF(ioctl(fd, NIOCCONFIG, 8)));
	fact_error("regif_nowhere", ERROR_OF(ioctl(fd, NIOCREGIF, 8)));
	fact_error("ginfo_nowhere", ERROR_OF(ioctl(fd, NIOCGINFO, 8)));
	fact_error("txsync_with_argument", ERROR_OF(ioctl(fd, NIOCTXSYNC, 8)));
	fact_error("siocgifaddr", ERROR_OF(ioctl(fd, 0x8915, bytes)));
	fact_error("fionread", ERROR_OF(ioctl(fd, 0x541b, bytes)));
	fact_error("next_number", ERROR_OF(ioctl(fd, _IO('i', 152), bytes)));
	struct nmreq *readonly = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*readonly = fresh("valel:r", 0);
	readonly->nr_flags = NR_REG_ALL_NIC;
	mprotect(readonly, 4096, PROT_READ);
	fact_error("readonly", regif_on(fd, readonly));
	fact_error("readonly_bound", ERROR_OF(ioctl(fd, NIOCTXSYNC, NULL)));
	close(fd);
}

SCENARIO("switch", "the legacy API: modes, commands, arguments, names",
	{ "modes", modes }, { "poll_bits", poll_bits }, { "pipes", pipes }, { "arguments", arguments },
	{ "commands", commands },
	{ "persistent", persistent }, { "headers", headers }, { "lists", lists }, { "versions", versions },
	{ "others", others })
