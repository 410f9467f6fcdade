/* Network interfaces that only the driver has: in the lists, the ioctls and the files where the kernel's are. */
#include "fake.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <glob.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>

static int device_fd, sock;
static void have(int n) { IS(act(device_fd, INTERFACES, n), 0); }
static int ask(unsigned long what, const char *name, struct ifreq *r)
{
	memset(r, 0, sizeof *r); strncpy(r->ifr_name, name, IFNAMSIZ - 1);
	return ioctl(sock, what, r);
}
static int is_fake(const char *name) { return !strncmp(name, "fake", 4); }
static uint32_t inet_of(struct ifreq *r) { return ((struct sockaddr_in *)&r->ifr_addr)->sin_addr.s_addr; }

/* what the lists say of the kernel's interfaces, and how many of ours they have */
static int listed(char *to, size_t room)
{
	struct ifaddrs *list, *i; int ours = 0; size_t n = 0; *to = 0;
	IS(getifaddrs(&list), 0);
	for (i = list; i; i = i->ifa_next) {
		if (is_fake(i->ifa_name)) { ours += i->ifa_addr->sa_family == AF_PACKET; continue; }
		CHECK(!ours);
		n += snprintf(to + n, room - n, "%s %x %d;", i->ifa_name, i->ifa_flags, i->ifa_addr ? i->ifa_addr->sa_family : -1);
	}
	freeifaddrs(list);
	struct if_nameindex *all = if_nameindex(), *x; int names = 0;
	CHECK(all);
	for (x = all; x->if_name; x++) {
		if (is_fake(x->if_name)) { names++; IS(if_nametoindex(x->if_name), x->if_index); continue; }
		n += snprintf(to + n, room - n, "%s %u;", x->if_name, x->if_index);
	}
	IS(x->if_index, 0); if_freenameindex(all); IS(names, ours);
	DIR *d = opendir("/sys/class/net"); struct dirent *e; int files = 0;
	CHECK(d);
	while (d && (e = readdir(d))) {
		if (is_fake(e->d_name)) { files++; IS(e->d_type, DT_LNK); continue; }
		n += snprintf(to + n, room - n, "%s %lu %d;", e->d_name, (unsigned long)e->d_ino, e->d_type);
	}
	if (d) closedir(d);
	IS(files, ours);
	return ours;
}
static void lists(void)
{
	static char without[1 << 16], with[1 << 16]; const int counts[] = { 1, WITH_LO | 3, 300, WITH_LO, 0 };
	IS(listed(without, sizeof without), 0); CHECK(strstr(without, "lo "));
	for (unsigned i = 0; i < 5; i++) {
		have(counts[i]); IS(listed(with, sizeof with), counts[i] & ~WITH_LO); CHECK(!strcmp(with, without));
	}
	/* given back later, in any order, when there are others */
	struct ifaddrs *a, *b, *c, *i; int n = 0;
	IS(getifaddrs(&a), 0); have(3); IS(getifaddrs(&b), 0); IS(getifaddrs(&c), 0); have(0);
	for (i = b; i; i = i->ifa_next) {
		if (!is_fake(i->ifa_name)) continue;
		struct sockaddr_ll *l = (void *)i->ifa_addr, *all = (void *)i->ifa_broadaddr; n++;
		if (l->sll_family == AF_INET) {
			CHECK(!strcmp(i->ifa_name, "fake1"));
			IS(((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr, inet_addr("10.9.8.7"));
			IS(((struct sockaddr_in *)i->ifa_netmask)->sin_addr.s_addr, inet_addr("255.255.255.0"));
			IS(((struct sockaddr_in *)i->ifa_broadaddr)->sin_addr.s_addr, inet_addr("10.9.8.255"));
			continue;
		}
		IS(l->sll_family, AF_PACKET); IS(l->sll_hatype, 1); IS(l->sll_halen, 6);
		IS(l->sll_ifindex, 0x40000000 + i->ifa_name[4] - '0'); IS(l->sll_addr[0], 2); IS(all->sll_addr[5], 255);
		IS(i->ifa_flags, IFF_BROADCAST | IFF_MULTICAST); CHECK(i->ifa_data && !i->ifa_netmask);
	}
	IS(n, 4);
	freeifaddrs(b); freeifaddrs(a); freeifaddrs(c); freeifaddrs(NULL);
	have(2); struct if_nameindex *x = if_nameindex(); have(0); struct if_nameindex *y = if_nameindex();
	if_freenameindex(x); if_freenameindex(y);
	/* names and numbers */
	have(2); char name[IF_NAMESIZE];
	IS(if_nametoindex("fake1"), 0x40000001); CHECK(if_indextoname(0x40000001, name) && !strcmp(name, "fake1"));
	CHECK(if_indextoname(if_nametoindex("lo"), name) && !strcmp(name, "lo"));
	errno = 0; IS(if_nametoindex("fake2"), 0); IS(errno, ENODEV);
	errno = 0; CHECK(!if_indextoname(0x40000002, name)); IS(errno, ENXIO);
	have(0); IS(if_nametoindex("fake1"), 0);
	/* the child of a fork has its parent's lists */
	have(2); IS(getifaddrs(&a), 0); pid_t p = fork();
	if (!p) { freeifaddrs(a); IS(getifaddrs(&b), 0); freeifaddrs(b); _exit(failures != 0); }
	int status; IS(waitpid(p, &status, 0), p); IS(status, 0); freeifaddrs(a);
}
static void requests(void)
{
	static const unsigned long gets[] = { SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFADDR,
		SIOCGIFNETMASK, SIOCGIFBRDADDR, SIOCGIFMETRIC, SIOCGIFTXQLEN, SIOCGIFMAP };
	struct ifreq r, before[10]; int was[10], f;
	for (int i = 0; i < 10; i++) { was[i] = ask(gets[i], "lo", &before[i]) ? errno : 0;
		FAILS(ask(gets[i], "fake0", &r), ENODEV); }
	have(WITH_LO | 2);
	for (int i = 0; i < 10; i++) {
		IS(ask(gets[i], "lo", &r) ? errno : 0, was[i]); CHECK(!memcmp(&r, &before[i], sizeof r));
		FAILS(ask(gets[i], "fake2", &r), ENODEV); FAILS(ask(gets[i], "fake", &r), ENODEV);
		FAILS(ask(gets[i], "", &r), ENODEV);
		f = gets[i] == SIOCGIFADDR || gets[i] == SIOCGIFNETMASK || gets[i] == SIOCGIFBRDADDR;
		if (f) FAILS(ask(gets[i], "fake0", &r), EADDRNOTAVAIL); else IS(ask(gets[i], "fake0", &r), 0);
		CHECK(!strcmp(r.ifr_name, "fake0"));
	}
	IS(ask(SIOCGIFFLAGS, "fake0", &r), 0); IS(r.ifr_flags, IFF_BROADCAST | IFF_MULTICAST);
	IS(ask(SIOCGIFMTU, "fake0", &r), 0); IS(r.ifr_mtu, 1500);
	IS(ask(SIOCGIFINDEX, "fake1", &r), 0); IS(r.ifr_ifindex, 0x40000001);
	IS(ask(SIOCGIFHWADDR, "fake1", &r), 0); IS(r.ifr_hwaddr.sa_family, 1); IS(r.ifr_hwaddr.sa_data[5], 1);
	IS(ask(SIOCGIFADDR, "fake1", &r), 0); IS(inet_of(&r), inet_addr("10.9.8.7"));
	memset(&r, 0, sizeof r); r.ifr_ifindex = 0x40000001; IS(ioctl(sock, SIOCGIFNAME, &r), 0);
	CHECK(!strcmp(r.ifr_name, "fake1"));
	memset(&r, 0, sizeof r); r.ifr_ifindex = 0x40000007; FAILS(ioctl(sock, SIOCGIFNAME, &r), ENODEV);
	char command[256] = ""; memset(&r, 0, sizeof r); strcpy(r.ifr_name, "fake0"); r.ifr_data = command;
	FAILS(ioctl(sock, 0x8946 /* SIOCETHTOOL */, &r), EOPNOTSUPP);
	FAILS(ioctl(sock, SIOCGIFFLAGS, NULL), EFAULT); FAILS(ioctl(-1, SIOCGIFFLAGS, &r), EBADF);
	int p[2]; IS(pipe(p), 0); strcpy(r.ifr_name, "fake0"); FAILS(ioctl(p[0], SIOCGIFFLAGS, &r), ENOTTY);
	IS(syscall(SYS_ioctl, sock, SIOCGIFMTU, &r), 0); IS(r.ifr_mtu, 1500);
	/* setting */
	IS(ask(SIOCGIFFLAGS, "fake0", &r), 0); r.ifr_flags |= IFF_UP | IFF_PROMISC; IS(ioctl(sock, SIOCSIFFLAGS, &r), 0);
	IS(ask(SIOCGIFFLAGS, "fake0", &r), 0); IS(r.ifr_flags, IFF_BROADCAST | IFF_MULTICAST | IFF_UP | IFF_PROMISC);
	r.ifr_mtu = 1400; IS(ioctl(sock, SIOCSIFMTU, &r), 0); IS(ask(SIOCGIFMTU, "fake0", &r), 0); IS(r.ifr_mtu, 1400);
	IS(ask(SIOCGIFHWADDR, "fake0", &r), 0); r.ifr_hwaddr.sa_data[4] = 77; IS(ioctl(sock, SIOCSIFHWADDR, &r), 0);
	IS(ask(SIOCGIFHWADDR, "fake0", &r), 0); IS(r.ifr_hwaddr.sa_data[4], 77);
	struct sockaddr_in *in = (void *)&r.ifr_addr;
	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("192.168.7.9") };
	IS(ioctl(sock, SIOCSIFADDR, &r), 0); IS(ask(SIOCGIFADDR, "fake0", &r), 0); IS(inet_of(&r), inet_addr("192.168.7.9"));
	IS(ask(SIOCGIFNETMASK, "fake0", &r), 0); IS(inet_of(&r), inet_addr("255.255.255.0"));
	in->sin_addr.s_addr = inet_addr("255.255.0.0"); IS(ioctl(sock, SIOCSIFNETMASK, &r), 0);
	IS(ask(SIOCGIFBRDADDR, "fake0", &r), 0); IS(inet_of(&r), inet_addr("192.168.255.255"));
	in->sin_addr.s_addr = inet_addr("255.0.255.0"); FAILS(ioctl(sock, SIOCSIFNETMASK, &r), EINVAL);
	IS(ask(SIOCGIFNETMASK, "fake0", &r), 0); IS(inet_of(&r), inet_addr("255.255.0.0"));
	FAILS(ask(SIOCSIFNAME, "fake0", &r), EOPNOTSUPP);
	/* SIOCGIFCONF: those with an address, as far as there is room */
	static char room[1 << 16]; struct ifconf c = { .ifc_len = sizeof room, .ifc_buf = room }; int all, n = 0;
	IS(ioctl(sock, SIOCGIFCONF, &c), 0); all = c.ifc_len;
	for (struct ifreq *q = c.ifc_req; (char *)q < room + all; q++) n += is_fake(q->ifr_name);
	IS(n, 2); c = (struct ifconf){ .ifc_buf = NULL }; IS(ioctl(sock, SIOCGIFCONF, &c), 0); IS(c.ifc_len, all);
	memset(room, 0x55, sizeof room);
	c = (struct ifconf){ .ifc_len = all - 1, .ifc_buf = room }; IS(ioctl(sock, SIOCGIFCONF, &c), 0);
	IS(c.ifc_len, all - (int)sizeof r); IS(room[c.ifc_len], 0x55);
	/* who has no rights over the kernel's interfaces has them over these */
	pid_t child = fork();
	if (!child) {
		if (getuid() == 0 && setresuid(65534, 65534, 65534)) _exit(1);
		IS(ask(SIOCGIFFLAGS, "fake1", &r), 0); r.ifr_flags |= IFF_UP; IS(ioctl(sock, SIOCSIFFLAGS, &r), 0);
		IS(ask(SIOCGIFFLAGS, "lo", &r), 0); FAILS(ioctl(sock, SIOCSIFFLAGS, &r), EPERM);
		strcpy(r.ifr_name, "fake9"); FAILS(ioctl(sock, SIOCSIFFLAGS, &r), EPERM);
		_exit(failures != 0);
	}
	int status; IS(waitpid(child, &status, 0), child); IS(status, 0);
}
static int select_fake(const struct dirent *e) { return is_fake(e->d_name); }
static void reads(const char *path, const char *want)
{
	char b[256] = ""; int fd = open(path, O_RDONLY); ssize_t n = read(fd, b, sizeof b - 1);
	if (n < 0 || strcmp(b, want)) { failures++; fprintf(stderr, "%s reads %zd %s\n", path, n, b); }
	close(fd);
}
static void sysfs(void)
{
	struct stat st, to; char b[PATH_MAX]; const char *net = "/sys/class/net";
	FAILS(access("/sys/class/net/fake0", F_OK), ENOENT); FAILS(readlink("/sys/class/net/fake0", b, sizeof b), ENOENT);
	struct stat lo, lo2; IS(lstat("/sys/class/net/lo", &lo), 0);
	have(2);
	IS(lstat("/sys/class/net/lo", &lo2), 0); IS(lo2.st_ino, lo.st_ino);
	IS(access("/sys/class/net/fake0", F_OK), 0); IS(access("/sys/class/net/fake0/mtu", R_OK), 0);
	FAILS(access("/sys/class/net/fake2", F_OK), ENOENT); FAILS(access("/sys/class/net/fake0/speed", F_OK), ENOENT);
	FAILS(access("/sys/class/net/fake0x/mtu", F_OK), ENOENT); FAILS(access("/sys/class/network", F_OK), ENOENT);
	IS(lstat("/sys/class/net/fake0", &st), 0); CHECK(S_ISLNK(st.st_mode));
	IS(stat("/sys/class/net/fake0", &to), 0); CHECK(S_ISDIR(to.st_mode) && to.st_ino != st.st_ino);
	IS(lstat("/sys/devices/virtual/net/fake0", &st), 0); CHECK(S_ISDIR(st.st_mode) && st.st_ino == to.st_ino);
	IS(stat("/sys/class/net/fake0/statistics/rx_bytes", &st), 0); CHECK(S_ISREG(st.st_mode));
	ssize_t n = readlink("/sys/class/net/fake0", b, sizeof b); IS(n, 31);
	CHECK(n == 31 && !memcmp(b, "../../devices/virtual/net/fake0", 31));
	IS(readlink("/sys/class/net/fake0", b, 4), 4); FAILS(readlink("/sys/class/net/fake0", b, 0), EINVAL);
	FAILS(readlink("/sys/class/net/fake0/mtu", b, sizeof b), EINVAL);
	CHECK(realpath("/sys/class/net/fake0/mtu", b) && !strcmp(b, "/sys/devices/virtual/net/fake0/mtu"));
	reads("/sys/class/net/fake0/mtu", "1500\n"); reads("/sys/class/net/fake1/address", "02:00:00:00:00:01\n");
	reads("/sys/class/net/fake1/ifindex", "1073741825\n"); reads("/sys/class/net/fake0/flags", "0x1002\n");
	reads("/sys/class/net/fake0/operstate", "down\n"); reads("/sys/class/net/fake0/statistics/tx_packets", "0\n");
	reads("/sys/class/net/fake0/../fake1/type", "1\n"); reads("/sys/class/net/fake0/carrier", "0\n");
	struct ifreq r; IS(ask(SIOCGIFFLAGS, "fake0", &r), 0); r.ifr_flags |= IFF_UP; IS(ioctl(sock, SIOCSIFFLAGS, &r), 0);
	reads("/sys/class/net/fake0/flags", "0x1003\n"); reads("/sys/class/net/fake0/operstate", "unknown\n");
	reads("/sys/class/net/fake0/carrier", "1\n");
	FAILS(open("/sys/class/net/fake0/mtu", O_WRONLY), EACCES); FAILS(open("/sys/class/net/fake0", O_RDWR), EISDIR);
	FILE *f = fopen("/sys/class/net/fake0/mtu", "r"); int v = 0;
	CHECK(f && fscanf(f, "%d", &v) == 1 && v == 1500); if (f) fclose(f);
	/* as streams, and from there */
	DIR *d = opendir(net); struct dirent *e; int total = 0, again = 0, dir = dirfd(d);
	while ((e = readdir(d))) total++;
	rewinddir(d); while ((e = readdir(d))) again++;
	IS(again, total);
	IS(fstat(dir, &st), 0); IS(stat(net, &to), 0); CHECK(st.st_ino == to.st_ino && st.st_dev == to.st_dev);
	IS(fstatat(dir, "fake1", &st, AT_SYMLINK_NOFOLLOW), 0); CHECK(S_ISLNK(st.st_mode));
	IS(fstatat(dir, "lo", &st, AT_SYMLINK_NOFOLLOW), 0); IS(st.st_ino, lo.st_ino); IS(fstatat(dir, "lo/mtu", &st, 0), 0);
	int mtu = openat(dir, "fake1/mtu", O_RDONLY); IS(read(mtu, b, 5), 5); close(mtu); closedir(d);
	d = opendir("/sys/class/net/fake0/"); total = again = 0;
	while (d && (e = readdir(d))) { total++; again += e->d_type == DT_DIR; }
	CHECK(d); if (d) closedir(d);
	IS(again, 4); CHECK(total > 20);
	d = opendir("/sys/class/net/fake0/queues"); total = 0; while (d && (e = readdir(d))) total += e->d_name[0] != '.';
	IS(total, 2); if (d) closedir(d);
	errno = 0; CHECK(!opendir("/sys/class/net/fake0/mtu")); IS(errno, ENOTDIR);
	struct dirent **names; int count = scandir(net, &names, select_fake, alphasort); IS(count, 2);
	for (int i = 0; i < count; i++) free(names[i]);
	if (count >= 0) free(names);
	glob_t g; IS(glob("/sys/class/net/fake*/mtu", 0, NULL, &g), 0); IS(g.gl_pathc, 2); globfree(&g);
	have(0); FAILS(access("/sys/class/net/fake0", F_OK), ENOENT);
	IS(glob("/sys/class/net/fake*", 0, NULL, &g), GLOB_NOMATCH);
}
static void *churn(void *done)
{
	for (int n = 0; !*(_Atomic int *)done; n++) act(device_fd, INTERFACES, n % 5);
	return NULL;
}
static void *look(void *p)
{
	struct ifaddrs *list, *i; struct ifreq r; int n = 0;
	for (int round = 0; round < 2000; round++) {
		IS(getifaddrs(&list), 0); for (i = list; i; i = i->ifa_next) n += strlen(i->ifa_name) > 0;
		struct if_nameindex *x = if_nameindex(); freeifaddrs(list); if_freenameindex(x);
		ask(SIOCGIFFLAGS, "fake0", &r);
		if (round % 100 == 0) {
			IS(getifaddrs(&list), 0); pid_t c = fork();
			freeifaddrs(list);
			if (!c) _exit(0);
			int status; IS(waitpid(c, &status, 0), c); IS(status, 0);
		}
	}
	CHECK(n > 0);
	return p;
}
static void threads(void)
{
	pthread_t t[5]; _Atomic int done = 0;
	pthread_create(&t[4], NULL, churn, &done);
	for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, look, NULL);
	for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
	done = 1; pthread_join(t[4], NULL);
}
int main(int argc, char **argv)
{
	device_fd = unbound(O_RDWR); sock = socket(AF_INET, SOCK_DGRAM, 0);
	const char *name = argc > 1 ? argv[1] : "";
	if (!strcmp(name, "lists")) lists();
	else if (!strcmp(name, "requests")) requests();
	else if (!strcmp(name, "sysfs")) sysfs();
	else if (!strcmp(name, "threads")) threads();
	else return 2;
	return failures != 0;
}
