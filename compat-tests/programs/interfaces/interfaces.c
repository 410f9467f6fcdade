/*
 * Persistent ports as network interfaces. `interfaces CASE` makes ports; `look NAME`, `up NAME` and `none NAME` are
 * those of a program that never opens the device.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/netmap.h>
#include <net/netmap_user.h>
#include <netpacket/packet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cases.h"

static void
fail(int line, const char *what)
{
	printf("FAILED line %d: %s (errno %d: %s)\n", line, what, errno, strerror(errno));
	exit(1);
}

#define CHECK(what)	do { if (!(what)) fail(__LINE__, #what); } while (0)

static int
device(void)
{
	int fd = open("/dev/netmap", O_RDWR);

	CHECK(fd >= 0);
	return fd;
}

/* VALE_NEWIF or VALE_DELIF: 0 or an errno. */
static int
request(int fd, int type, const char *name)
{
	struct nmreq_vale_newif body;
	struct nmreq_header header;

	memset(&header, 0, sizeof(header));
	memset(&body, 0, sizeof(body));
	header.nr_version = NETMAP_API;
	header.nr_reqtype = (uint16_t)type;
	snprintf(header.nr_name, sizeof(header.nr_name), "%s", name);
	header.nr_body = type == NETMAP_REQ_VALE_NEWIF ? (uintptr_t)&body : 0;
	return ioctl(fd, NIOCCTRL, &header) ? errno : 0;
}

static void
make(int fd, const char *name)
{
	CHECK(request(fd, NETMAP_REQ_VALE_NEWIF, name) == 0);
}

static void
delete(int fd, const char *name)
{
	CHECK(request(fd, NETMAP_REQ_VALE_DELIF, name) == 0);
}

/* One end of a pipe on `base`, as programs of the first API open it. */
static int
open_pipe(const char *base, int end)
{
	struct nmreq old;
	int fd = device();

	memset(&old, 0, sizeof(old));
	snprintf(old.nr_name, sizeof(old.nr_name), "%s", base);
	old.nr_version = NETMAP_API;
	old.nr_ringid = 1;
	old.nr_flags = (uint32_t)end;
	CHECK(ioctl(fd, NIOCREGIF, &old) == 0);
	return fd;
}

/* Entries of getifaddrs' list with this name. */
static int
listed(const char *name)
{
	struct ifaddrs *list, *i;
	int n = 0;

	CHECK(getifaddrs(&list) == 0);
	for (i = list; i != NULL; i = i->ifa_next)
		n += strcmp(i->ifa_name, name) == 0;
	freeifaddrs(list);
	return n;
}

static int
ask(unsigned long what, const char *name, struct ifreq *r)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), e;

	memset(r, 0, sizeof(*r));
	snprintf(r->ifr_name, sizeof(r->ifr_name), "%s", name);
	e = ioctl(s, what, r) ? errno : 0;
	close(s);
	return e;
}

static int
set(unsigned long what, struct ifreq *r)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), e;

	e = ioctl(s, what, r) ? errno : 0;
	close(s);
	return e;
}

static const char *
file(const char *name, const char *what)
{
	static char path[128];

	snprintf(path, sizeof(path), "/sys/class/net/%s%s%s", name, *what ? "/" : "", what);
	return path;
}

/* All ways to find an interface agree: is it there? */
static int
is_there(const char *name)
{
	unsigned index = if_nametoindex(name);
	char back[IF_NAMESIZE], text[64] = "", address[32];
	struct ifreq r;
	unsigned char *mac;
	FILE *f;

	if (index == 0) {
		CHECK(errno == ENODEV);
		CHECK(ask(SIOCGIFFLAGS, name, &r) == ENODEV && ask(SIOCGIFHWADDR, name, &r) == ENODEV);
		CHECK(listed(name) == 0 && access(file(name, ""), F_OK) == -1 && errno == ENOENT);
		return 0;
	}
	CHECK(listed(name) == 1);
	CHECK(if_indextoname(index, back) != NULL && strcmp(back, name) == 0);
	CHECK(ask(SIOCGIFINDEX, name, &r) == 0 && r.ifr_ifindex == (int)index);
	CHECK(ask(SIOCGIFMTU, name, &r) == 0 && r.ifr_mtu == 1500);
	CHECK(ask(SIOCGIFADDR, name, &r) == EADDRNOTAVAIL);
	CHECK(ask(SIOCGIFHWADDR, name, &r) == 0 && r.ifr_hwaddr.sa_family == 1);
	mac = (unsigned char *)r.ifr_hwaddr.sa_data;
	CHECK((mac[0] & 3) == 2);
	snprintf(address, sizeof(address), "%02x:%02x:%02x:%02x:%02x:%02x\n", mac[0], mac[1], mac[2], mac[3], mac[4],
	    mac[5]);
	CHECK(access(file(name, ""), F_OK) == 0);
	f = fopen(file(name, "address"), "r");
	CHECK(f != NULL && fgets(text, sizeof(text), f) != NULL && strcmp(text, address) == 0);
	fclose(f);
	return 1;
}

static void
made_and_deleted(void)
{
	struct ifreq first, again;
	int fd = device();

	CHECK(!is_there("vif0"));
	make(fd, "vif0");
	CHECK(is_there("vif0"));
	CHECK(ask(SIOCGIFFLAGS, "vif0", &first) == 0 && first.ifr_flags == (IFF_BROADCAST | IFF_MULTICAST));
	CHECK(ask(SIOCGIFHWADDR, "vif0", &first) == 0 && ask(SIOCGIFHWADDR, "vif0", &again) == 0);
	CHECK(memcmp(&first, &again, sizeof(first)) == 0);
	CHECK(request(fd, NETMAP_REQ_VALE_NEWIF, "vif0") == EEXIST);
	delete(fd, "vif0");
	CHECK(!is_there("vif0"));
	make(fd, "vif0");
	CHECK(is_there("vif0") && ask(SIOCGIFHWADDR, "vif0", &again) == 0);
	CHECK(memcmp(&first, &again, sizeof(first)) != 0);
	delete(fd, "vif0");
}

static void
of_a_pipe(void)
{
	int slave = open_pipe("vif-lo", NR_REG_PIPE_SLAVE), master;

	CHECK(is_there("vif-lo"));
	master = open_pipe("vif-lo", NR_REG_PIPE_MASTER);
	close(slave);
	CHECK(is_there("vif-lo"));
	close(master);
	CHECK(!is_there("vif-lo"));
}

static void
unchanged(void)
{
	static const unsigned long what[] = { SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFADDR };
	struct ifreq before[COUNT(what)], r;
	int answer[COUNT(what)], entries = listed("lo"), fd;
	unsigned index = if_nametoindex("lo");

	for (size_t i = 0; i < COUNT(what); i++)
		answer[i] = ask(what[i], "lo", &before[i]);
	fd = device();
	make(fd, "vif0");
	CHECK(listed("lo") == entries && if_nametoindex("lo") == index);
	for (size_t i = 0; i < COUNT(what); i++)
		CHECK(ask(what[i], "lo", &r) == answer[i] && memcmp(&r, &before[i], sizeof(r)) == 0);
	delete(fd, "vif0");
}

#define MANY 300

static void
many(void)
{
	char name[16];
	struct if_nameindex *all, *i;
	int fd = device(), n = 0;
	struct dirent *e;
	DIR *d;

	for (int k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), "vif%d", k);
		make(fd, name);
	}
	CHECK(is_there("vif0") && is_there(name));
	all = if_nameindex();
	CHECK(all != NULL);
	for (i = all; i->if_name != NULL; i++)
		n += strncmp(i->if_name, "vif", 3) == 0;
	if_freenameindex(all);
	CHECK(n == MANY);
	d = opendir("/sys/class/net");
	for (n = 0; (e = readdir(d)) != NULL;)
		n += strncmp(e->d_name, "vif", 3) == 0;
	closedir(d);
	CHECK(n == MANY);
	for (int k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), "vif%d", k);
		delete(fd, name);
	}
	CHECK(!is_there("vif0") && !is_there(name));
}

#define THREADS 4
#define ROUNDS 200

/* Its own port is always there between its making and its deletion, whatever the others do. */
static void *
make_and_delete(void *number)
{
	char name[16];
	int fd = device();

	snprintf(name, sizeof(name), "vift%d", *(int *)number);
	for (int k = 0; k < ROUNDS; k++) {
		make(fd, name);
		CHECK(listed(name) == 1 && if_nametoindex(name) != 0);
		delete(fd, name);
		CHECK(listed(name) == 0 && if_nametoindex(name) == 0);
	}
	close(fd);
	return NULL;
}

static void
threads(void)
{
	int numbers[THREADS];
	pthread_t all[THREADS];

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		CHECK(pthread_create(&all[i], NULL, make_and_delete, &numbers[i]) == 0);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(all[i], NULL) == 0);
}

static void
forks(void)
{
	struct ifaddrs *list;
	int fd = device(), status;
	pid_t child;

	make(fd, "vif0");
	CHECK(getifaddrs(&list) == 0);
	child = fork();
	if (child == 0) {
		freeifaddrs(list);
		CHECK(is_there("vif0"));
		fflush(stdout);
		_exit(0);
	}
	freeifaddrs(list);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	delete(fd, "vif0");
}

/* Who holds the port open, for another process to look at. */
static void
held(void)
{
	int fd = device();

	make(fd, "vif0");
	printf("ready\n");
	fflush(stdout);
	getchar();
}

static int
from_outside(const char *what, const char *name)
{
	struct ifreq r;

	if (strcmp(what, "none") == 0) {
		CHECK(!is_there(name));
	} else if (strcmp(what, "look") == 0) {
		CHECK(is_there(name));
		CHECK(ask(SIOCGIFFLAGS, name, &r) == 0);
		printf("%x\n", (unsigned short)r.ifr_flags);
	} else if (strcmp(what, "up") == 0) {
		CHECK(ask(SIOCGIFFLAGS, name, &r) == 0);
		r.ifr_flags |= IFF_UP | IFF_PROMISC;
		CHECK(set(SIOCSIFFLAGS, &r) == 0);
		r.ifr_mtu = 9000;
		CHECK(set(SIOCSIFMTU, &r) == EINVAL);
	} else {
		return 2;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "made_and_deleted", made_and_deleted },
		{ "of_a_pipe", of_a_pipe },
		{ "unchanged", unchanged },
		{ "many", many },
		{ "threads", threads },
		{ "forks", forks },
		{ "held", held },
	};

	if (argc == 3)
		return from_outside(argv[1], argv[2]);
	return run_cases(argc, argv, cases, COUNT(cases));
}
