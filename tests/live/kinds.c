/* SPDX-License-Identifier: MIT */
/*
 * Each kind of private memory with each attribute: what was lost comes back with
 * its bytes, nothing beside it changes, and the kernel says of it what it said
 * before; or it is refused, and the outcome says why.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "huge.h"
#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"
#include "uapi.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41		/* Linux 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102		/* Linux 6.13 */
#endif

static const struct variant {
	const struct kinds_kind *kind;
	uint32_t start;			/* BEZ_START_* */
	uint16_t why;			/* NONE: it is replaced */
	int lone;			/* nobody, and no memory may be locked */
} *variant(void)
{
	return tap_data();
}

/* Each returns 0 or an errno: the kernel does not know it, or not for that. */
static int nothing(void *at, size_t len)
{
	(void)at;
	(void)len;
	return 0;
}

static int read_only(void *at, size_t len)
{
	return mprotect(at, len, PROT_READ) ? errno : 0;
}

static int executable(void *at, size_t len)
{
	return mprotect(at, len, PROT_READ | PROT_EXEC) ? errno : 0;
}

static int locked(void *at, size_t len)
{
	return mlock(at, len) ? errno : 0;
}

static int locked_read_only(void *at, size_t len)
{
	return locked(at, len) ?: read_only(at, len);
}

static int not_dumped(void *at, size_t len)
{
	return madvise(at, len, MADV_DONTDUMP) ? errno : 0;
}

static int not_inherited(void *at, size_t len)
{
	return madvise(at, len, MADV_DONTFORK) ? errno : 0;
}

static int wiped(void *at, size_t len)
{
	return madvise(at, len, MADV_WIPEONFORK) ? errno : 0;
}

static int read_randomly(void *at, size_t len)
{
	return madvise(at, len, MADV_RANDOM) ? errno : 0;
}

static int huge_advised(void *at, size_t len)
{
	return madvise(at, len, MADV_HUGEPAGE) ? errno : 0;
}

static int bound(void *at, size_t len)
{
	unsigned long nodes = 1;

	return syscall(SYS_mbind, at, len, MPOL_BIND, &nodes, 8, 0) ? errno : 0;
}

static int key = -1;

static int with_key(void *at, size_t len)
{
	if (key < 0)
		key = pkey_alloc(0, 0);
	if (key < 0)
		return errno;
	return pkey_mprotect(at, len, PROT_READ | PROT_WRITE, key) ? errno : 0;
}

static int with_name(void *at, size_t len)
{
	return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, len, "a name") ?
	       errno : 0;
}

static const struct attribute {
	const char *name;
	int (*give)(void *at, size_t len);
	int after;			/* it was lost: a child has no part in it */
	int only_uffd;			/* cannot be given again */
	const char *flag;		/* of VmFlags */
} attributes[] = {
	{ "nothing", nothing, 0, 0, "rd" },
	{ "read-only", read_only, 0, 0, "rd" },
	{ "executable", executable, 0, 0, "ex" },
	{ "locked", locked, 0, 0, "lo" },
	{ "locked and read-only", locked_read_only, 0, 0, "lo" },
	{ "not dumped", not_dumped, 0, 0, "dd" },
	{ "not inherited", not_inherited, 1, 0, "dc" },
	{ "wiped in children", wiped, 1, 0, "wf" },
	{ "random access", read_randomly, 0, 0, "rr" },
	{ "huge pages advised", huge_advised, 0, 0, "hg" },
	{ "bound to a node", bound, 0, 1, "rd" },
	{ "a protection key", with_key, 0, 0, "rd" },
	{ "a name", with_name, 0, 0, "rd" },
};

struct look {
	struct kinds_seen seen;
	unsigned long locked_kb;
};

static void look(const struct kinds_memory *m, size_t offset,
		 struct look *ret_look)
{
	kinds_see(m->at + offset, &ret_look->seen);
	ret_look->locked_kb = kinds_locked_kb(m->at, m->len);
}

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

/* A middle one, the first, the last, its neighbour; the first again. */
static const unsigned int places[] = { 50, 0, 99, 66, 0 };

static enum bez_outcome why_not(const struct attribute *a)
{
	/* what is bad is the file's own page, and who maps it anew finds that;
	 * but to lock private memory copies it, and the file forgot the page
	 * before Linux 5.16 */
	if (strcmp(a->flag, "lo") && live_is_real() && variant()->start && variant()->kind->make &&
	    !variant()->kind->cow && !variant()->why && live_linux(5, 16))
		return BEZ_OUTCOME_REFUSED_FILE;
	/* a file on tmpfs keeps its policy itself */
	if (a->only_uffd && (variant()->kind->disk ||
			     (variant()->start && !variant()->kind->make)))
		return BEZ_OUTCOME_REFUSED_ATTRS;
	return (enum bez_outcome)variant()->why;
}

/* A handler runs with all keys shut, and what jumps out of it, too. */
static void refused_with_key(const void *addr, enum bez_outcome why)
{
	unsigned char byte;

	CHECK(see_lost(addr, &byte));
	CHECK_EQ(pkey_set(key, 0), 0);
	CHECK_EQ(see_event(addr).why, why);
}

static void lose_each(const struct kinds_memory *m, const struct attribute *a)
{
	enum bez_outcome why = why_not(a);
	struct look before, after;
	size_t i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		size_t offset = m->len / 100 * places[i], start;
		uint64_t had = replaced();
		struct bez_event e;

		/* a child has no part in what was marked before; and each huge
		 * page that is really lost is one less on this machine */
		if (live_is_real() && i && (a->after || m->width > live_page()))
			break;
		start = kinds_extent(m, offset);
		if (!i && a->after)
			kinds_lose(m, offset);
		if (!i)
			CHECK_EQ(a->give(m->at, m->len), 0);
		look(m, offset, &before);
		CHECKF(strstr(before.seen.flags, a->flag), "%s: %s", a->name,
		       before.seen.flags);
		if (i || !a->after)
			kinds_lose(m, offset);
		if (why) {
			if (a->give == with_key)
				refused_with_key(m->at + offset, why);
			else
				see_refused(m->at + offset, why);
			CHECK(!kinds_wrong(m, 0, start));
			look(m, offset, &after);
			kinds_alike(&before.seen, &after.seen, 0, a->name);
			return;
		}
		CHECKF(live_read(m->at + offset) == live_byte(offset, 0), "%s",
		       a->name);
		CHECKF(replaced() == had + 1, "%s, place %zu: replaced %d times",
		       a->name, i, (int)(replaced() - had));
		e = see_event(m->at + offset);
		CHECK_EQ(e.width, m->width);
		CHECK_EQ(e.cause, live_code() == 2 ? BEZ_CAUSE_ADRERR :
						     BEZ_CAUSE_POISON_AR);
		CHECKF(!kinds_wrong(m, 0, m->len), "%s: wrong bytes",
		       a->name);
		CHECKF(replaced() == had + 1, "%s: more was lost", a->name);
		look(m, offset, &after);
		kinds_alike(&before.seen, &after.seen, 0, a->name);
		CHECKF(after.locked_kb == before.locked_kb,
		       "%s: %lu kB locked, were %lu", a->name, after.locked_kb,
		       before.locked_kb);
	}
}

static void no_more_locks(void)
{
	struct rlimit none = { 0, 0 };

	CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	CHECK_EQ(setresuid(65534, 65534, 65534), 0);
}

/* Of memory of @kind with the attribute; 0, or why it cannot have it. */
static int one(const struct kinds_kind *kind, const struct attribute *a)
{
	struct bez_source from;
	struct kinds_memory m;
	bez_region_t region;
	struct kinds_seen seen;
	int err;

	kinds_make(kind, &m);
	err = a->give(m.at, m.len);
	kinds_see(m.at, &seen);
	/* huge pages are always locked, in a way, and mlock(2) passes them over */
	if (!err && !strstr(seen.flags, a->flag))
		err = EOPNOTSUPP;
	if (!err && a->after) {
		/* it can have it, and gets it later */
		munmap(m.at, m.len);
		kinds_unlink(&m);
		kinds_make(kind, &m);
	}
	if (!err) {
		from = bez_source_mirror(kinds_bytes(0));
		region = live_region(m.at, m.len, &from, a->name);
		lose_each(&m, a);
		CHECK_EQ(bez_region_remove(region), 0);
	}
	munmap(m.at, m.len);
	kinds_unlink(&m);
	if (m.fd >= 0)
		close(m.fd);
	return err;
}

static void kept(void)
{
	const struct kinds_kind *kind = variant()->kind;
	size_t i, had = 0;

	kinds_can_be_lost(kind);
	if (kind->huge)		/* what is really lost does not come back */
		huge_need(live_is_real() ? 28 : 16);
	see_install();
	see_start(variant()->start);
	for (i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		int err = one(kind, &attributes[i]);

		if (err)
			tap_diag("%s: %s", attributes[i].name, strerror(err));
		had += !err;
	}
	/* some are for anonymous memory only, or for processors that have it */
	CHECKF(had >= 7, "only %zu attributes could be given", had);
}

/* Locked already, by who may not lock any more. */
static void locked_up(void)
{
	static const struct attribute lock = { "locked", nothing, 0, 0, "lo" };
	struct bez_source from;
	struct kinds_memory m;

	if (live_is_real())
		tap_skip("who is not root cannot make real poison");
	kinds_can_be_lost(variant()->kind);
	kinds_make(variant()->kind, &m);
	kinds_unlink(&m);
	CHECK_EQ(mlock(m.at, m.len), 0);
	no_more_locks();
	CHECK(mlock(&from, 1) && (errno == EPERM || errno == ENOMEM));
	from = bez_source_mirror(kinds_bytes(0));
	see_install();
	see_start(variant()->start);
	live_region(m.at, m.len, &from, "locked up");
	lose_each(&m, &lock);
}

/* ---------------------------------------------------------------- neighbours */

static int closed(void *at, size_t len)
{
	return mprotect(at, len, PROT_NONE) ? errno : 0;
}

static int guarded(void *at, size_t len)
{
	return madvise(at, len, MADV_GUARD_INSTALL) ? errno : 0;
}

/* One lost extent between two that nobody may touch: they stay that way. */
static void between(int (*fence)(void *, size_t))
{
	struct kinds_seen before, after;
	unsigned char *left, *right;
	static const struct attribute plain = { "between", nothing, 0, 0, "" };
	struct bez_source from;
	struct kinds_memory m;
	int err;

	kinds_can_be_lost(variant()->kind);
	if (variant()->kind->huge)
		huge_need(16);
	see_install();
	see_start(variant()->start);
	kinds_make(variant()->kind, &m);
	from = bez_source_mirror(kinds_bytes(0));
	live_region(m.at, m.len, &from, "between");
	left = m.at;
	right = m.at + 2 * m.width;
	err = fence(left, m.width);
	if (err)
		tap_skip("the kernel refuses it: %s", strerror(err));
	CHECK_EQ(fence(right, m.width), 0);
	kinds_see(left, &before);
	kinds_lose(&m, m.width);
	if (why_not(&plain)) {
		see_refused(m.at + m.width, why_not(&plain));
	} else {
		CHECK(!kinds_wrong(&m, m.width, 2 * m.width));
		CHECK_EQ(replaced(), 1);
	}
	kinds_see(left, &after);
	kinds_alike(&before, &after, 0, "left");
	/* EFAULT: a guard; ENOMEM: a mapping without access */
	CHECK(madvise(left, m.width, MADV_POPULATE_READ) && errno != EHWPOISON);
	CHECK(madvise(right, m.width, MADV_POPULATE_READ) &&
	      errno != EHWPOISON);
	if (fence == closed) {
		CHECK_EQ(mprotect(left, m.width, PROT_READ), 0);
		CHECK_EQ(mprotect(right, m.width, PROT_READ), 0);
		CHECK(!kinds_wrong(&m, 0, m.width));
		CHECK(!kinds_wrong(&m, 2 * m.width, 3 * m.width));
	}
	kinds_unlink(&m);
}

static void between_closed(void)
{
	between(closed);
}

static void between_guards(void)
{
	between(guarded);
}

#define V(kind, start, why) \
	(&(const struct variant){ &kinds_##kind, start, BEZ_OUTCOME_##why, 0 })

#define ONE(what, function, kind, mremap)				\
	{ .name = what ", userfaultfd", .run = function,		\
	  .data = V(kind, 0, NONE), .timeout_s = 120 },			\
	{ .name = what ", mremap", .run = function,			\
	  .data = V(kind, BEZ_START_NO_UFFD, mremap), .timeout_s = 120 }

#define KIND(what, kind, mremap)					\
	ONE(what ", kept", kept, kind, mremap),				\
	ONE(what ", between closed ones", between_closed, kind, mremap), \
	ONE(what ", between guards", between_guards, kind, mremap)

static const struct tap_case cases[] = {
	KIND("anonymous", anon, NONE),
	/* without a name it cannot be opened again */
	KIND("memfd, clean", memfd, REFUSED_FILE),
	KIND("memfd, copied", memfd_cow, REFUSED_FILE),
	KIND("tmpfs, clean", tmpfs, NONE),
	KIND("tmpfs, copied", tmpfs_cow, NONE),
	KIND("hugetlb", huge, NONE),
	KIND("hugetlb memfd, clean", huge_memfd, REFUSED_ATTRS),
	KIND("hugetlb memfd, copied", huge_memfd_cow, REFUSED_ATTRS),
	KIND("disk, copied", disk_cow, NONE),
	ONE("anonymous, may not lock", locked_up, anon, REFUSED_ATTRS),
	ONE("memfd, may not lock", locked_up, memfd_cow, REFUSED_FILE),
};
TAP_MAIN(cases)
