/* A network interface: binding it and its host rings, what is exclusive, a switch it is attached to. No packet is
 * sent. */
#include "scenario.h"

static void binding(void)
{
	MUST_OPEN(p, interface_name());
	fact("open", "tx_rings %d rx_rings %d host_tx %d host_rx %d tx_slots %d rx_slots %d", p.reg.nr_tx_rings > 0,
		p.reg.nr_rx_rings > 0, p.reg.nr_host_tx_rings > 0, p.reg.nr_host_rx_rings > 0, p.reg.nr_tx_slots > 0,
		p.reg.nr_rx_slots > 0);
	fact("name", "%d", !strcmp(p.nifp->ni_name, interface_name()));
	struct netmap_ring *tx = txring(&p, 0);
	fact("tx", "slots %d dir %u free %d", tx->num_slots == p.reg.nr_tx_slots, tx->dir,
		available(tx) == tx->num_slots - 1);
	fact_error("txsync", txsync(&p));
	fact_error("rxsync", rxsync(&p));
	fact("poll_out", "%s", poll_result(p.fd, POLLOUT, 0));
	OPEN(second, interface_name());
	fact("second", "%s same_memory %d", error_name(second.error), second.reg.nr_mem_id == p.reg.nr_mem_id);
	close_port(&second);
	OPEN(one, interface_name(), .nr_mode = NR_REG_ONE_NIC);
	fact_error("one_ring", one.error);
	close_port(&one);
	OPEN(beyond, interface_name(), .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 4000);
	fact_error("ring_beyond", beyond.error);
	close_port(&beyond);
	OPEN(alone, interface_name(), .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive", alone.error);
	close_port(&alone);
	close_port(&p);
	struct nmreq_port_info_get info = { 0 };
	int error = request(NETMAP_REQ_PORT_INFO_GET, interface_name(), &info);
	fact("info", "%s rings %d slots %d", error_name(error), info.nr_tx_rings > 0, info.nr_tx_slots > 0);
	OPEN(again, interface_name(), .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive_alone", again.error);
}

static void host_rings(void)
{
	OPEN(sw, interface_name(), .nr_mode = NR_REG_SW);
	fact_error("sw", sw.error);
	close_port(&sw);
	OPEN(both, interface_name(), .nr_mode = NR_REG_NIC_SW);
	fact_error("nic_sw", both.error);
	if (!both.error)
		fact("host_ring", "%d", txring(&both, both.nifp->ni_tx_rings)->num_slots > 0);
	close_port(&both);
	OPEN(one, interface_name(), .nr_mode = NR_REG_ONE_SW);
	fact_error("one_sw", one.error);
}

static void in_switch(void)
{
	char name[64];
	struct nmreq_vale_attach attach = { .reg = { .nr_mode = NR_REG_ALL_NIC } };
	struct nmreq_vale_detach detach = { 0 };
	snprintf(name, sizeof name, "valeif:%s", interface_name());
	MUST_OPEN(p, interface_name());
	fact_error("attach_open", request(NETMAP_REQ_VALE_ATTACH, name, &attach));
	close_port(&p);
	attach = (struct nmreq_vale_attach){ .reg = { .nr_mode = NR_REG_ONE_NIC } };
	fact_error("attach_one_ring", request(NETMAP_REQ_VALE_ATTACH, name, &attach));
	attach = (struct nmreq_vale_attach){ .reg = { .nr_mode = NR_REG_ALL_NIC } };
	fact_error("attach", request(NETMAP_REQ_VALE_ATTACH, name, &attach));
	fact_error("attach_again", request(NETMAP_REQ_VALE_ATTACH, name, &attach));
	OPEN(q, interface_name());
	fact_error("open_attached", q.error);
	close_port(&q);
	OPEN(by_switch, name);
	fact_error("open_by_switch", by_switch.error);
	close_port(&by_switch);
	fact_error("detach", request(NETMAP_REQ_VALE_DETACH, name, &detach));
	fact_error("detach_again", request(NETMAP_REQ_VALE_DETACH, name, &detach));
	OPEN(after, interface_name());
	fact_error("open_detached", after.error);
}

static void on_it(void)
{
	char name[64];
	MUST_OPEN(p, interface_name());
	snprintf(name, sizeof name, "%s{1", interface_name());
	OPEN(m, name);
	fact("pipe", "%s same_memory %d", error_name(m.error), m.reg.nr_mem_id == p.reg.nr_mem_id);
	close_port(&m);
	OPEN(mon, interface_name(), .nr_flags = NR_MONITOR_RX);
	fact_error("monitor", mon.error);
	close_port(&mon);
	OPEN(zero, interface_name(), .nr_flags = NR_ZCOPY_MON);
	fact_error("zero_copy_monitor", zero.error);
	close_port(&zero);
	struct nmreq_vale_newif newif = { 0 };
	fact_error("newif", request(NETMAP_REQ_VALE_NEWIF, interface_name(), &newif));
	fact_error("delif", request(NETMAP_REQ_VALE_DELIF, interface_name(), NULL));
}

SCENARIO("interface", "a network interface: binding, host rings, switch, pipes and monitors on it",
	{ "binding", binding }, { "host_rings", host_rings }, { "in_switch", in_switch }, { "on_it", on_it })
