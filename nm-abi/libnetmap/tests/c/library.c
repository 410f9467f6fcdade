/*
 * What the library does without a device: contexts, error sentences, option lists, option
 * parsers, memory that runs out. Compiles as C and as C++. Says "ok" at the end.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnetmap.h>

static int checks;

#define CHECK(what)	do {						\
	checks++;							\
	if (!(what)) {							\
		fprintf(stderr, "%s:%d: %s; last sentence: %s\n", __FILE__, __LINE__, #what, sentence); \
		exit(1);						\
	}								\
} while (0)

/* ---------------------------------------------------------------- a context of our own */

static char sentence[16384];
static int sentences;
static long blocks;	/* that the library has */
static long left = -1;	/* that it may still get; -1: any number */
static int depth;	/* of the lock */
static int locks;

static void
my_error(struct nmctx *ctx, const char *text)
{
	CHECK(ctx != NULL && depth == 0);
	snprintf(sentence, sizeof(sentence), "%s", text);
	sentences++;
	errno = 12345;	/* must not get through */
}

static void *
my_malloc(struct nmctx *ctx, size_t size)
{
	void *p;

	CHECK(ctx != NULL && size > 0);
	if (left == 0)
		return NULL;
	if (left > 0)
		left--;
	p = malloc(size);
	if (p != NULL) {
		memset(p, 0xa5, size);
		blocks++;
	}
	return p;
}

static void
my_free(struct nmctx *ctx, void *p)
{
	CHECK(ctx != NULL && p != NULL);
	blocks--;
	free(p);
}

static void
my_lock(struct nmctx *ctx, int lock)
{
	CHECK(ctx != NULL);
	depth += lock ? 1 : -1;
	CHECK(depth == (lock ? 1 : 0));
	locks++;
}

static struct nmctx mine;

static int
said(const char *part)
{
	int found = sentences == 1 && strstr(sentence, part) != NULL;

	sentences = 0;
	return found;
}

static int
quiet(void)
{
	return sentences == 0;
}

/* ---------------------------------------------------------------- contexts */

static void
contexts(void)
{
	struct nmctx *first = nmctx_get(), copy;

	CHECK(first != NULL && first->verbose == 1 && first->lock != NULL);
	CHECK(first->error != NULL && first->malloc != NULL && first->free != NULL);
	CHECK(first->mem_descs == NULL);
	copy = *first;
	/* the default's lock works for copies */
	CHECK(nmctx_set_default(&copy) == first && nmctx_get() == &copy);
	nmctx_lock(&copy);
	nmctx_unlock(&copy);
	copy.lock = NULL;
	nmctx_lock(&copy);
	nmctx_lock(&copy);
	nmctx_set_threadsafe();
	CHECK(nmctx_get()->lock != NULL);
	nmctx_lock(nmctx_get());
	nmctx_unlock(nmctx_get());

	mine = *first;
	mine.error = my_error;
	mine.malloc = my_malloc;
	mine.free = my_free;
	mine.lock = my_lock;
	nmctx_set_default(&mine);
	nmctx_set_threadsafe();
	nmctx_lock(nmctx_get());
	CHECK(depth == 1 && locks == 1);
	nmctx_unlock(nmctx_get());
	CHECK(depth == 0 && locks == 2);
	nmctx_free(&mine, nmctx_malloc(&mine, 10));
	CHECK(blocks == 0);
}

static void
formats(void)
{
	char expected[512], wide[12001];
	int i;
#define FORMAT "%s %d %ld %c %u %x %llu %s|%g %g %.3f %g %g %g %g %g %g %g|%d %s %lld %5.2f %%"
#define VALUES "eth0", -1, LONG_MIN, 'x', UINT_MAX, 0xbeefu, ULLONG_MAX, "seven", 0.5, 1.5, 2.25,	\
	3., 4., 5., 6., 7., 8., 9., 42, "after the doubles", -77LL, 3.14159

	errno = EBUSY;
	nmctx_ferror(&mine, FORMAT, VALUES);
	CHECK(errno == EBUSY);
	snprintf(expected, sizeof(expected), FORMAT, VALUES);
	CHECK(strcmp(sentence, expected) == 0 && said(expected));
	nmctx_ferror(&mine, "no arguments");
	CHECK(said("no arguments"));
	nmctx_ferror(&mine, "%d%d%d%d%d%d%d%d%d", 1, 2, 3, 4, 5, 6, 7, 8, 9);
	CHECK(strcmp(sentence, "123456789") == 0 && said("123456789"));
	nmctx_ferror(&mine, "%.1f%.1f%.1f%.1f%.1f%.1f%.1f%.1f%.1f%.1f", 0., 1., 2., 3., 4., 5., 6.,
	    7., 8., 9.);
	CHECK(said("0.01.02.03.04.05.06.07.08.09.0"));
	/* structures on the stack, in the middle of the rest */
	nmctx_ferror(&mine, "%Lg %d %.*s", 1.5L, 3, 2, "abc");
	CHECK(said("1.5 3 ab"));
	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	nmctx_ferror(&mine, "%s", wide);
	CHECK(strlen(sentence) > 1000 && strspn(sentence, "w") == strlen(sentence) && said("w"));
	mine.verbose = 0;
	nmctx_ferror(&mine, "nobody %s this", "hears");
	CHECK(nmport_prepare("nonsense") == NULL && errno == EINVAL);
	CHECK(quiet());
	mine.verbose = 1;
	for (i = 0; i < 3; i++) {
		nmctx_ferror(&mine, "%d", i);
		CHECK(sentence[0] == '0' + i && sentences == i + 1);
	}
	sentences = 0;
}

/* ---------------------------------------------------------------- lists of options */

static void
lists(void)
{
	struct nmreq_header hdr;
	struct nmreq_option o[3], *p;
	struct nmreq_register reg;
	int i, n = 0;

	memset(&hdr, 0xff, sizeof(hdr));
	nmreq_header_init(&hdr, NETMAP_REQ_REGISTER, &reg);
	CHECK(hdr.nr_version == NETMAP_API && hdr.nr_reqtype == NETMAP_REQ_REGISTER);
	CHECK(hdr.nr_body == (uintptr_t)&reg && hdr.nr_options == 0 && hdr.nr_reserved == 0);
	CHECK(hdr.nr_name[0] == '\0' && hdr.nr_name[NETMAP_REQ_IFNAMSIZ - 1] == '\0');
	memset(o, 0, sizeof(o));
	for (i = 0; i < 3; i++) {
		o[i].nro_reqtype = (uint32_t)i + 1;
		nmreq_push_option(&hdr, &o[i]);
	}
	nmreq_foreach_option(&hdr, p)
		CHECK(p == &o[2 - n++]);
	CHECK(n == 3);
	CHECK(nmreq_find_option(&hdr, 2) == &o[1] && nmreq_find_option(&hdr, 4) == NULL);
	nmreq_remove_option(&hdr, &o[1]);
	CHECK(nmreq_find_option(&hdr, 2) == NULL && nmreq_find_option(&hdr, 1) == &o[0]);
	CHECK(o[1].nro_next == 0 && o[2].nro_next == (uintptr_t)&o[0]);
	nmreq_remove_option(&hdr, &o[1]);
	nmreq_remove_option(&hdr, &o[2]);
	CHECK(hdr.nr_options == (uintptr_t)&o[0]);
	nmreq_remove_option(&hdr, &o[0]);
	CHECK(hdr.nr_options == 0);
	for (i = 0; i < 3; i++)
		nmreq_push_option(&hdr, (struct nmreq_option *)calloc(1, sizeof(struct nmreq_opt_csb)));
	nmreq_free_options(&hdr);

	CHECK(strcmp(nmreq_option_name(NETMAP_REQ_OPT_EXTMEM), "extmem") == 0);
	CHECK(strcmp(nmreq_option_name(NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS), "sync-kloop-eventfds") == 0);
	CHECK(strcmp(nmreq_option_name(NETMAP_REQ_OPT_CSB), "csb") == 0);
	CHECK(strcmp(nmreq_option_name(NETMAP_REQ_OPT_SYNC_KLOOP_MODE), "sync-kloop-mode") == 0);
	CHECK(strcmp(nmreq_option_name(NETMAP_REQ_OPT_OFFSETS), "offsets") == 0);
	CHECK(strcmp(nmreq_option_name(4711), "unknown") == 0);
}

/* ---------------------------------------------------------------- parts of names */

static void
parts(void)
{
	struct nmreq_header hdr;
	struct nmreq_register reg;
	const char *spec = "vale1:ab{c^2/xz@5/R@conf:rings=2", *at = spec;

	memset(&hdr, 0x11, sizeof(hdr));
	memset(&reg, 0x11, sizeof(reg));
	CHECK(nmreq_header_decode(&at, &hdr, &mine) == 0);
	CHECK(at == spec + 10 && strcmp(hdr.nr_name, "vale1:ab{c") == 0);
	CHECK(hdr.nr_version == 0x1111 && hdr.nr_options == 0x1111111111111111ULL);
	CHECK(nmreq_register_decode(&at, &reg, &mine) == -1 && errno == EINVAL);
	CHECK(at == spec + 10 && reg.nr_mode == 0x11111111 && said("'^2/xz@5/R@conf:rings=2'") == 0);
	CHECK(strstr(sentence, "5") != NULL);
	reg.nr_mem_id = 0;
	CHECK(nmreq_register_decode(&at, &reg, &mine) == 0);
	CHECK(strcmp(at, "@conf:rings=2") == 0);
	CHECK(reg.nr_mode == NR_REG_ONE_SW && reg.nr_ringid == 2 && reg.nr_mem_id == 5);
	CHECK(reg.nr_flags == (NR_EXCLUSIVE | NR_ZCOPY_MON | NR_RX_RINGS_ONLY));
	CHECK(reg.nr_tx_rings == 0x1111 && reg.nr_extra_bufs == 0x11111111);
	at = "nonsense";
	CHECK(nmreq_header_decode(&at, &hdr, &mine) == -1 && errno == EINVAL && said("nonsense"));
	CHECK(strcmp(at, "nonsense") == 0 && strcmp(hdr.nr_name, "vale1:ab{c") == 0);
	at = NULL;
	CHECK(nmreq_get_mem_id(&at, &mine) == -1 && errno == EINVAL && quiet());
	at = "val:x";
	CHECK(nmreq_get_mem_id(&at, &mine) == -1 && said("val:x"));
}

/* Each sentence names what is wrong. */
static void
blame(void)
{
	static const struct {
		const char *name;
		const char *part;
		int error;
	} table[] = {
		{ "eth0", "netmap: or vale", EINVAL },
		{ "netmap", "':'", EINVAL },
		{ "netmap7:x", "'7'", EINVAL },
		{ "vale-1:x", "'-1'", EINVAL },
		{ "netmap:", "empty", EINVAL },
		{ "vale0:x{", "pipe", EINVAL },
		{ "vale0:x{a.b", "'a.b'", EINVAL },
		{ "vale0:x/q", "'q'", EINVAL },
		{ "vale0:x-z", "'z'", EINVAL },
		{ "vale0:x-4095", "4095", EINVAL },
		{ "vale0:x@0", "memory id 0", EINVAL },
		{ "vale0:x@", "memory id", EINVAL },
		{ "vale0:x@3@4", "4", EINVAL },
		{ "vale0:x-99999999999999999999", "ring number", ERANGE },
		{ "vale0:x@walrus=1", "'walrus'", EINVAL },
		{ "vale0:x@offset=1", "'offset'", EOPNOTSUPP },
		{ "vale0:x@conf:eggs=1", "'eggs'", EINVAL },
		{ "vale0:x@conf:rings=1,rings=2", "'rings'", EINVAL },
		{ "vale0:x@conf:slots", "'slots'", EINVAL },
		{ "vale0:x@conf=1", "'conf'", EINVAL },
		{ "vale0:x@extmem:if-num=1", "'file'", EINVAL },
		{ "vale0:x@extmem=/no/such/file", "/no/such/file", ENOENT },
		{ "vale0:x@share=y", "y", EINVAL },
		{ NULL, NULL, 0 },
	};
	int i;

	for (i = 0; table[i].name != NULL; i++) {
		errno = 0;
		CHECK(nmport_prepare(table[i].name) == NULL);
		CHECK(errno == table[i].error);
		CHECK(strncmp(sentence, "option", 6) == 0 || strstr(sentence, "share") != NULL ||
		    strstr(sentence, table[i].name) != NULL || strcmp(table[i].name, "vale0:x@share=y") == 0);
		CHECK(said(table[i].part));
		CHECK(blocks == 0);
	}
}

/* ---------------------------------------------------------------- parsers */

static struct nmreq_parse_ctx seen;
static char values[4][64];
static int calls;

static int
remember(struct nmreq_parse_ctx *p)
{
	int i;

	seen = *p;
	calls++;
	for (i = 0; i < 4; i++)
		snprintf(values[i], sizeof(values[i]), "%s", p->keys[i] ? p->keys[i] : "(null)");
	if (p->keys[0] != NULL && strcmp(p->keys[0], "fail") == 0) {
		errno = E2BIG;
		return -1;
	}
	return 0;
}

static int
decode(struct nmreq_opt_parser *list, const char *text)
{
	calls = 0;
	errno = 0;
	return nmreq_options_decode(text, list, &calls, &mine);
}

static void
parsers(void)
{
	struct nmreq_opt_parser list[2];
	static const char *const names[] = { "first", "sec_ond", "third" };
	int i;

	memset(list, 0, sizeof(list));
	list[0].prefix = "opt";
	list[0].parse = remember;
	list[0].default_key = 1;
	list[0].next = &list[1];
	for (i = 0; i < 3; i++) {
		list[0].keys[i].key = names[i];
		list[0].keys[i].id = i;
	}
	list[0].keys[2].flags = NMREQ_OPTK_ALLOWEMPTY;
	list[1] = list[0];
	list[1].prefix = "o";
	list[1].flags = NMREQ_OPTF_ALLOWEMPTY;
	list[1].default_key = -1;
	list[1].keys[0].flags = NMREQ_OPTK_MUSTSET;
	list[1].next = NULL;

	CHECK(decode(list, "") == 0 && calls == 0);
	CHECK(decode(list, "@opt=some=thing,third") == 0 && calls == 1);
	CHECK(seen.ctx == &mine && seen.token == &calls);
	CHECK(strcmp(values[0], "(null)") == 0 && strcmp(values[1], "some=thing,third") == 0);
	CHECK(decode(list, "@opt:first=1,sec-ond=2=3,third@opt:third=x") == 0 && calls == 2);
	CHECK(strcmp(values[2], "x") == 0 && strcmp(values[1], "(null)") == 0);
	CHECK(decode(list, "@opt:third,first=1,sec-ond=2=3") == 0 && calls == 1);
	CHECK(strcmp(values[0], "1") == 0 && strcmp(values[1], "2=3") == 0);
	CHECK(strcmp(values[2], "third") == 0);
	CHECK(decode(list, "@o") == 0 && calls == 1 && strcmp(values[0], "(null)") == 0);
	CHECK(decode(list, "@o:first=1") == 0 && strcmp(values[0], "1") == 0);
	CHECK(quiet());
	CHECK(decode(list, "@o:third") == -1 && errno == EINVAL && calls == 0 && said("'first'"));
	CHECK(decode(list, "@o=1") == -1 && errno == EINVAL && said("'o'"));
	CHECK(decode(list, "@opt") == -1 && errno == EINVAL && said("'opt'"));
	CHECK(decode(list, "@op=1") == -1 && errno == EINVAL && said("'op'"));
	CHECK(decode(list, "@opt:first") == -1 && errno == EINVAL && said("'first'"));
	CHECK(decode(list, "@opt:first=1@") == -1 && errno == EINVAL && calls == 1 && said("'@'"));
	CHECK(decode(list, "opt") == -1 && errno == EINVAL && said("'@'"));
	CHECK(decode(list, "@opt:first=fail@o") == -1 && errno == E2BIG && calls == 1 && quiet());
	list[0].flags = NMREQ_OPTF_DISABLED;
	CHECK(decode(list, "@opt=1") == -1 && errno == EOPNOTSUPP && said("'opt'"));
	list[1].keys[0].id = 99;
	CHECK(decode(list, "@o:first=1") == -1 && errno == EINVAL && said("'first'"));
	list[1].parse = NULL;
	CHECK(decode(list, "@o") == -1 && errno == EINVAL && said("'o'"));
	CHECK(decode(NULL, "@o") == -1 && errno == EINVAL && said("'o'"));
	CHECK(blocks == 0);
}

/* ---------------------------------------------------------------- descriptors */

static void
descriptors(void)
{
	struct nmport_d *d = nmport_new(), *c, before;
	static char memory[8192];

	CHECK(d != NULL && d->ctx == &mine && d->fd == -1 && d->mem == NULL && d->nifp == NULL);
	CHECK(d->hdr.nr_body == (uintptr_t)&d->reg && d->hdr.nr_reqtype == NETMAP_REQ_REGISTER);
	CHECK(nmport_extmem_getinfo(d) == NULL);
	before = *d;
	CHECK(nmport_parse(d, "vale0:x/x@7@conf:rings=3@conf:eggs=3") == -1 && said("eggs"));
	CHECK(memcmp(&before, d, sizeof(before)) == 0);
	CHECK(nmport_parse(d, "vale0:x/x@7@conf:rings=3@extmem=mem") == 0 && quiet());
	CHECK(strcmp(d->hdr.nr_name, "vale0:x") == 0 && d->reg.nr_tx_rings == 3);
	CHECK(d->extmem != NULL && nmreq_find_option(&d->hdr, NETMAP_REQ_OPT_EXTMEM) == &d->extmem->nro_opt);
	CHECK(nmport_extmem_getinfo(d)->nr_memsize == 12288);
	/* the file is mapped for writing */
	memset((void *)(uintptr_t)d->extmem->nro_usrptr, 0x5a, 12288);

	before = *d;
	CHECK(nmport_parse(d, "vale0:y@extmem=mem") == -1 && errno == EINVAL && said("twice"));
	CHECK(memcmp(&before, d, sizeof(before)) == 0);
	CHECK(nmport_extmem(d, memory, sizeof(memory)) == -1 && errno == EINVAL && said("twice"));
	CHECK(nmport_clone(d) == NULL && errno == EINVAL && said("extmem"));
	CHECK(nmport_mmap(d) == -1 && errno == EINVAL && said("registered"));
	nmport_undo_mmap(d);
	nmport_undo_register(d);
	nmport_undo_parse(d);
	CHECK(d->hdr.nr_options == 0 && d->extmem == NULL && d->reg.nr_tx_rings == 0 && blocks == 1);

	/* again, with memory of our own, and an offset */
	CHECK(nmport_parse(d, "vale0:z") == 0 && nmport_extmem(d, memory, sizeof(memory)) == 0);
	CHECK(nmport_extmem_getinfo(d)->nr_memsize == sizeof(memory));
	CHECK(d->extmem->nro_usrptr == (uintptr_t)memory);
	CHECK(nmport_offset(d, 10, 20, 8, 100) == 0);
	CHECK(((struct nmreq_opt_offsets *)nmreq_find_option(&d->hdr, NETMAP_REQ_OPT_OFFSETS))
	    ->nro_max_offset == 20);
	nmport_undo_prepare(d);
	CHECK(blocks == 0 && quiet());

	/* a clone has requests of its own, without options */
	d = nmport_prepare("vale0:x-3/x@7");
	CHECK(d != NULL && nmport_offset(d, 1, 1, 0, 0) == 0);
	c = nmport_clone(d);
	CHECK(c != NULL && c->hdr.nr_body == (uintptr_t)&c->reg && c->hdr.nr_options == 0);
	CHECK(strcmp(c->hdr.nr_name, "vale0:x") == 0 && c->fd == -1 && c->ctx == d->ctx);
	CHECK(memcmp(&c->reg, &d->reg, sizeof(c->reg)) == 0 && c->clist == NULL);
	nmport_undo_prepare(d);
	nmport_undo_prepare(c);
	nmport_undo_prepare(NULL);
	nmport_close(NULL);
	CHECK(blocks == 0);

	CHECK(nmport_enable_option("offset") == 0);
	d = nmport_prepare("vale0:x@offset=3");
	CHECK(d != NULL && d->hdr.nr_options != 0);
	nmport_close(d);
	nmport_disable_option("offset");
	nmport_disable_option("conf");
	nmport_disable_option("no such thing");
	CHECK(nmport_prepare("vale0:x@offset=3") == NULL && errno == EOPNOTSUPP && said("'offset'"));
	CHECK(nmport_prepare("vale0:x@conf:rings=3") == NULL && errno == EOPNOTSUPP && said("'conf'"));
	CHECK(nmport_enable_option("conf") == 0);
	CHECK(nmport_enable_option("no such thing") == -1 && errno == EOPNOTSUPP && quiet());
	CHECK(blocks == 0);
}

/* Memory runs out at each place in turn; nothing is lost. */
static void
memory_runs_out(void)
{
	struct nmport_d *d = NULL;
	long n;

	for (n = 0; d == NULL; n++) {
		left = n;
		errno = 0;
		sentences = 0;
		d = nmport_prepare("vale0:x@conf:rings=1@extmem:file=mem,if-num=3");
		CHECK(d != NULL || (errno == ENOMEM && said("memory") && blocks == 0));
		CHECK(n < 20);
	}
	CHECK(n > 5);
	left = -1;
	for (n = 0;; n++) {
		left = n;
		errno = 0;
		sentences = 0;
		if (nmport_offset(d, 1, 1, 1, 1) == 0)
			break;
		CHECK(errno == ENOMEM && said("memory"));
		CHECK(nmreq_find_option(&d->hdr, NETMAP_REQ_OPT_OFFSETS) == NULL);
	}
	CHECK(n == 2);
	left = 0;
	nmport_undo_prepare(d);
	left = -1;
	CHECK(blocks == 0);
}

/* ---------------------------------------------------------------- threads */

static void *
thread(void *unused)
{
	struct nmctx *ctx = nmctx_get();
	static int inside;
	int i;

	(void)unused;
	for (i = 0; i < 2000; i++) {
		struct nmport_d *d = nmport_prepare("vale0:x/x@conf:rings=2");

		if (d == NULL || d->reg.nr_tx_rings != 2)
			return ctx;
		nmctx_lock(ctx);
		if (++inside != 1)
			return ctx;
		inside--;
		nmctx_unlock(ctx);
		nmport_undo_prepare(d);
	}
	return NULL;
}

static void
threads(struct nmctx *first)
{
	pthread_t t[4];
	void *failed;
	int i;

	nmctx_set_default(first);
	for (i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, thread, NULL) == 0);
	for (i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], &failed) == 0 && failed == NULL);
}

int
main(void)
{
	struct nmctx *first = nmctx_get();

	contexts();
	formats();
	lists();
	parts();
	sentences = 0;
	blame();
	parsers();
	descriptors();
	memory_runs_out();
	threads(first);
	printf("ok %d\n", checks);
	return 0;
}
