/* SPDX-License-Identifier: MIT */
/*
 * Handlers that were installed after ours and hand on to us, rings of
 * handlers, and two copies of the library in one process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain_help.h"

#define PAGES 4

static struct sigaction before;		/* what later() stands before */
static volatile int calls;
static uint64_t mask_changed;

static void later(int sig, siginfo_t *info, void *context)
{
	uint64_t mask = chain_mask();

	calls++;
	before.sa_sigaction(sig, info, context);
	mask_changed |= chain_mask() ^ mask;
}

static void install_later(int flags)
{
	struct sigaction action = { .sa_sigaction = later,
				    .sa_flags = SA_SIGINFO | flags };

	sigaddset(&action.sa_mask, SIGUSR1);
	sigaddset(&action.sa_mask, SIGSEGV);
	CHECK_EQ(sigaction(SIGBUS, &action, &before), 0);
}

static unsigned char *lost_region(const void *mirror)
{
	unsigned char *at = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(mirror);
	int i;

	for (i = 0; i < PAGES; i++)
		live_poison(at + i * live_page());
	live_region(at, PAGES * live_page(), &from, "lost");
	return at;
}

/* SIGBUS is blocked in later(), but a fault inside our handler must come
 * through: the mirror is lost, too, and has a mirror of its own. */
static void through_a_later_handler(void)
{
	struct bez_status status = { .size = sizeof(status) };
	unsigned char *at, *mirror;
	struct bez_event event[2];
	uint64_t seq = 0, mask = chain_mask();

	chain_start();
	mirror = lost_region(live_pages(PAGES));
	at = lost_region(mirror);
	install_later(*(const int *)tap_data());
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(live_wrong(mirror, PAGES * live_page(), 0), 0);
	CHECK(calls >= PAGES);
	CHECK_EQ(mask_changed, 0);
	CHECK_EQ(chain_mask(), mask);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 2 * PAGES);
	CHECK_EQ(bez_events(&seq, event, 2), 2);
	CHECK_EQ(event[0].depth, 2);
	CHECK_EQ(event[1].depth, 1);

	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(status.installed, 0);
	CHECK_EQ(status.started, 1);
	CHECK_EQ(bez_stop(), -EBUSY);
}

/* A handler that hands on by a jump, as compilers make of a call at the end of
 * a function: the kernel's frame is then right above ours. */
void (*later_jumps_to)(int, siginfo_t *, void *);
void later_jumps(int, siginfo_t *, void *);

#if defined(__x86_64__)
__asm__(".text\n"
	".globl later_jumps\n"
	".type later_jumps, @function\n"
	"later_jumps:\n"
	"	jmp *later_jumps_to(%rip)\n"
	".size later_jumps, . - later_jumps\n");
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl later_jumps\n"
	".type later_jumps, @function\n"
	"later_jumps:\n"
	"	adrp x16, later_jumps_to\n"
	"	ldr x16, [x16, :lo12:later_jumps_to]\n"
	"	br x16\n"
	".size later_jumps, . - later_jumps\n");
#endif

static uint64_t mask_in_source;

static int tells_mask(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	mask_in_source = chain_mask();
	/* lost as well: with SIGBUS blocked this kills */
	memcpy(dst, arg, len);
	return 0;
}

/* The mask that our handler has while it repairs a page. */
static uint64_t mask_of_a_repair(void)
{
	unsigned char *at = live_pages(1);
	struct bez_source from = bez_source_callback(
		tells_mask, lost_region(live_pages(PAGES)));

	live_region(at, live_page(), &from, "tells its mask");
	live_poison(at);
	mask_in_source = 0;
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	return mask_in_source;
}

/* The later handler's mask blocks SIGBUS, and opens what ours closes. */
static void through_a_jump(void)
{
	struct sigaction action = { .sa_sigaction = later_jumps };
	uint64_t own, mask = chain_mask();

	chain_start();
	own = mask_of_a_repair();	/* called by the kernel */
	CHECK(!(own & 1ull << (SIGBUS - 1)) && own & 1ull << (SIGUSR1 - 1) &&
	      own & 1ull << (SIGCHLD - 1));
	action.sa_flags = SA_SIGINFO | *(const int *)tap_data();
	CHECK_EQ(sigaction(SIGBUS, &action, &before), 0);
	later_jumps_to = before.sa_sigaction;
	CHECK_EQ(mask_of_a_repair(), own);
	CHECK_EQ(chain_mask(), mask);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 4);
}

static unsigned char *hole;
static void (*prepare)(void);

static void touch_hole(void *arg)
{
	if (arg)
		prepare();
	chain_load(hole + 100);
	_exit(33);
}

static void dies_like_bare(void (*make)(void))
{
	struct chain_end bare, ours;

	hole = chain_hole();
	prepare = make;
	bare = chain_trace(touch_hole, NULL);
	ours = chain_trace(touch_hole, (void *)1);
	chain_same_end(&bare, &ours);
	CHECK_EQ(ours.pc, (uint64_t)chain_load_at);
}

static void start_with_later(void)
{
	chain_start();
	install_later(0);
}

/* Foreign, and SIGBUS is blocked in the later handler: it returns, and then
 * the process dies of the fault. */
static void foreign_through_a_later_handler(void)
{
	dies_like_bare(start_with_later);
}

/* later() -> bezoar -> later() -> ... */
static void make_ring(void)
{
	struct sigaction action = { .sa_sigaction = later,
				    .sa_flags = SA_SIGINFO };

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	chain_start();
	CHECK_EQ(sigaction(SIGBUS, NULL, &before), 0);
}

static void make_ring_on_alternate_stack(void)
{
	struct sigaction action = { .sa_sigaction = later,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK |
						SA_NODEFER };

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	chain_start();
	CHECK_EQ(sigaction(SIGBUS, NULL, &before), 0);
}

static void ring_ends(void)
{
	dies_like_bare(make_ring);
}

static void ring_ends_on_alternate_stack(void)
{
	dies_like_bare(make_ring_on_alternate_stack);
}

/* ------------------------------------------------------------ two copies */

#if defined(LIVE_STATIC)

static void needs_two(void)
{
	tap_skip("a static program holds one copy of the library");
}
#define two_brokers needs_two
#define two_foreign needs_two
#define two_ring needs_two

#else

struct copy {
	int (*start)(const struct bez_options *);
	int (*stop)(void);
	int (*add)(void *, size_t, const struct bez_policy *, bez_region_t *);
	int (*remove)(bez_region_t);
	int (*status)(struct bez_status *);
};

static void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT |
						  O_EXCL, 0700);
	char buf[4096];
	ssize_t n;

	CHECK(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		CHECK_EQ(write(out, buf, (size_t)n), n);
	CHECK_EQ(n, 0);
	close(in);
	close(out);
}

/* The same library under another name is another library to the loader. */
static struct copy load_copy(void)
{
	char dir[] = "/tmp/bezoar-copy.XXXXXX", path[64];
	struct copy c;
	Dl_info info;
	void *lib;

	CHECK(dladdr((void *)(uint64_t)bez_start, &info));
	if (!strstr(info.dli_fname, ".so"))
		tap_skip("the library is linked into %s", info.dli_fname);
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/copy.so", dir);
	copy_file(info.dli_fname, path);
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	CHECKF(lib, "%s", dlerror());
	unlink(path);
	rmdir(dir);
	*(void **)&c.start = dlsym(lib, "bez_start");
	*(void **)&c.stop = dlsym(lib, "bez_stop");
	*(void **)&c.add = dlsym(lib, "bez_region_add");
	*(void **)&c.remove = dlsym(lib, "bez_region_remove");
	*(void **)&c.status = dlsym(lib, "bez_status");
	CHECK(c.start && c.stop && c.add && c.remove && c.status);
	CHECK((void *)(uint64_t)c.start != (void *)(uint64_t)bez_start);
	return c;
}

static void two_brokers(void)
{
	struct bez_status first = { .size = sizeof(first) };
	struct bez_status second = { .size = sizeof(second) };
	unsigned char *a, *b = live_pages(PAGES), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct copy c = load_copy();
	bez_region_t region;
	int i;

	options.flags = BEZ_START_NO_EARLY_KILL;
	chain_start();
	CHECK_EQ(c.start(&options), 0);
	a = lost_region(live_pages(PAGES));
	policy.source = &from;
	CHECK_EQ(c.add(b, PAGES * live_page(), &policy, &region), 0);
	for (i = 0; i < PAGES; i++)
		live_poison(b + i * live_page());

	CHECK_EQ(live_wrong(a, PAGES * live_page(), 0), 0);
	CHECK_EQ(live_wrong(b, PAGES * live_page(), 0), 0);
	CHECK_EQ(bez_status(&first), 0);
	CHECK_EQ(c.status(&second), 0);
	/* each counts its own */
	CHECK_EQ(first.regions, 1);
	CHECK_EQ(second.regions, 1);
	CHECK_EQ(first.replaced, PAGES);
	CHECK_EQ(second.replaced, PAGES);
	CHECK_EQ(first.foreign, 0);
	/* the second came later, so it gets the first one's faults, too; an
	 * aligned address is asked again first */
	CHECK(second.foreign >= PAGES);
	CHECK_EQ(first.installed, 0);
	CHECK_EQ(second.installed, 1);

	CHECK_EQ(bez_stop(), -EBUSY);
	CHECK_EQ(c.remove(region), 0);
	CHECK_EQ(c.stop(), 0);
	CHECK_EQ(bez_status(&first), 0);
	CHECK_EQ(first.installed, 1);
}

static void start_two(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct copy c = load_copy();

	chain_start();
	CHECK_EQ(c.start(&options), 0);
}

static void two_foreign(void)
{
	load_copy();			/* skips here if it must */
	dies_like_bare(start_two);
}

/* later() -> second -> first -> later() */
static void start_two_in_a_ring(void)
{
	struct sigaction action = { .sa_sigaction = later,
				    .sa_flags = SA_SIGINFO };

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	start_two();
	CHECK_EQ(sigaction(SIGBUS, NULL, &before), 0);
}

static void two_ring(void)
{
	load_copy();
	dies_like_bare(start_two_in_a_ring);
}

#endif

static const int plain = 0, on_alt = SA_ONSTACK,
	nodefer = SA_ONSTACK | SA_NODEFER;

static const struct tap_case cases[] = {
	{ .name = "through a later handler", .run = through_a_later_handler,
	  .data = &plain },
	{ .name = "through a later handler, alternate stack",
	  .run = through_a_later_handler, .data = &on_alt },
	{ .name = "through a later handler, nodefer",
	  .run = through_a_later_handler, .data = &nodefer },
	{ .name = "a later handler jumps to us", .run = through_a_jump,
	  .data = &plain },
	{ .name = "a later handler jumps to us, alternate stack",
	  .run = through_a_jump, .data = &on_alt },
	{ .name = "a later handler jumps to us, nodefer",
	  .run = through_a_jump, .data = &nodefer },
	{ .name = "foreign through a later handler",
	  .run = foreign_through_a_later_handler },
	{ .name = "ring ends", .run = ring_ends, .timeout_s = 20 },
	{ .name = "ring ends, alternate stack",
	  .run = ring_ends_on_alternate_stack, .timeout_s = 20 },
	{ .name = "two brokers", .run = two_brokers },
	{ .name = "two brokers, foreign", .run = two_foreign },
	{ .name = "two brokers in a ring", .run = two_ring, .timeout_s = 20 },
};
TAP_MAIN(cases)
