/* SPDX-License-Identifier: MIT */
/* What a mapping is like: smaps in every shape, cut anywhere. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "repair/attrs.h"
#include "unit.h"

static char scratch[65536];

#define SIZES "Size:                  4 kB\nKernelPageSize:        4 kB\n" \
	"Rss:                   4 kB\nAnonymous:             4 kB\n"

static int read_at(uint64_t addr, const char *text, size_t chunk,
		   struct bz_attrs *ret)
{
	int r;

	unit_page();
	double_reset();
	double_kernel(DOUBLE_NO_NUMA);
	double_smaps(text, chunk);
	double_watch();
	r = bz_attrs_read(addr, scratch, ret);
	CHECK_EQ(double_count(SYS_close, 0), r != -EIO);
	double_rest();
	return r;
}

/* One mapping with these permissions and flags, between two others. */
static void one(const char *perms, const char *rest, const char *flags,
		struct bz_attrs *ret)
{
	char text[2048];
	size_t chunk;

	snprintf(text, sizeof(text),
		 "7f0000000000-7f0000001000 r--p 00000000 08:01 77   /lib/x\n"
		 SIZES "ProtectionKey:         3\nVmFlags: rd mr mw me lo dd \n"
		 "7f0000001000-7f0000005000 %s 00000000 00:00 0 %s\n"
		 SIZES "%s\n"
		 "7f0000005000-7f0000006000 rw-p 00000000 00:00 0 [heap]\n"
		 SIZES "VmFlags: rd wr mr mw me ac hg nr \n",
		 perms, rest, flags);
	for (chunk = 1; chunk < 700; chunk += chunk < 40 ? 13 : 211) {
		CHECK_EQ(read_at(0x7f0000000fff, text, chunk, ret), 0);
		CHECK(ret->memory.kind != BZ_MEMORY_ANON && ret->pkey == 3);
		CHECK_EQ(read_at(0x7f0000005000, text, chunk, ret), 0);
		CHECK(ret->memory.kind == BZ_MEMORY_ANON && ret->noreserve &&
		      ret->advices == 1 && !ret->pkey && !ret->locked);
		CHECK_EQ(read_at(0x7f0000006000, text, chunk, ret), -ENOENT);
		CHECK_EQ(read_at(0x7efffffff000, text, chunk, ret), -ENOENT);
		CHECK_EQ(read_at(0x7f0000004fff, text, chunk, ret), 0);
		CHECK_EQ(read_at(0x7f0000001000, text, chunk, ret), 0);
	}
}

static void permissions(void)
{
	static const struct {
		const char *perms;
		int prot, private;
	} each[] = {
		{ "---p", PROT_NONE, 1 }, { "r--p", PROT_READ, 1 },
		{ "rw-p", PROT_READ | PROT_WRITE, 1 },
		{ "rwxp", PROT_READ | PROT_WRITE | PROT_EXEC, 1 },
		{ "--xp", PROT_EXEC, 1 }, { "-w-p", PROT_WRITE, 1 },
		{ "rw-s", PROT_READ | PROT_WRITE, 0 },
	};
	struct bz_attrs a;
	size_t i;

	for (i = 0; i < COUNT_OF(each); i++) {
		one(each[i].perms, "", "VmFlags: mr mw me ac ", &a);
		CHECK_EQ(a.prot, each[i].prot);
		CHECK_EQ(a.memory.kind, each[i].private ? BZ_MEMORY_ANON :
						      BZ_MEMORY_SHARED);
		CHECK(!a.unkept && !a.advices && !a.locked && !a.name[0]);
	}
}

static void names(void)
{
	static const struct {
		const char *rest, *name;
		int anonymous;
	} each[] = {
		{ "", "", 1 }, { "   [heap]", "", 1 }, { " [stack]", "", 1 },
		{ "  [stack:123]", "", 1 }, { "  [anon:]", "", 1 },
		{ "  [anon:x]", "x", 1 },
		{ " [anon:glibc: malloc arena]", "glibc: malloc arena", 1 },
		{ " [anon:0123456789012345678901234567890123456789"
		  "012345678901234567890123456789012345678]",
		  "0123456789012345678901234567890123456789"
		  "012345678901234567890123456789012345678", 1 },
		{ " [vdso]", "", 0 }, { " [vvar]", "", 0 },
		{ " /memfd:x (deleted)", "", 0 }, { " [anon_shmem:x]", "", 0 },
		{ " /dev/zero (deleted)", "", 0 },
		{ " anon_inode:[io_uring]", "", 0 },
	};
	struct bz_attrs a;
	size_t i;

	for (i = 0; i < COUNT_OF(each); i++) {
		one("rw-p", each[i].rest, "VmFlags: rd wr ", &a);
		CHECKF(!strcmp(a.name, each[i].name), "\"%s\"", a.name);
		CHECKF((a.memory.kind == BZ_MEMORY_ANON) ==
		       each[i].anonymous, "%s",
		       each[i].rest);
	}
}

static void flags(void)
{
	static const struct {
		const char *flag;
		int advice, unkept, locked, noreserve, other;
	} each[] = {
		{ "dd", MADV_DONTDUMP, 0, 0, 0, 0 },
		{ "dc", MADV_DONTFORK, 0, 0, 0, 0 },
		{ "wf", MADV_WIPEONFORK, 0, 0, 0, 0 },
		{ "hg", MADV_HUGEPAGE, 0, 0, 0, 0 },
		{ "nh", MADV_NOHUGEPAGE, 0, 0, 0, 0 },
		{ "mg", MADV_MERGEABLE, 0, 0, 0, 0 },
		{ "sr", MADV_SEQUENTIAL, 0, 0, 0, 0 },
		{ "rr", MADV_RANDOM, 0, 0, 0, 0 },
		{ "gd", 0, 1, 0, 0, 0 }, { "um", 0, 0, 0, 0, 0 },
		{ "uw", 0, 0, 0, 0, 0 }, { "ui", 0, 0, 0, 0, 0 },
		{ "sl", 0, 1, 0, 0, 0 }, { "ss", 0, 1, 0, 0, 0 },
		{ "dp", 0, 1, 0, 0, 0 }, { "mt", 0, 1, 0, 0, 0 },
		{ "lo", 0, 0, 1, 0, 0 },
		{ "nr", 0, 0, 0, 1, 0 }, { "ht", 0, 0, 0, 0, 0 },
		{ "io", 0, 0, 0, 0, 1 }, { "pf", 0, 0, 0, 0, 1 },
		{ "mm", 0, 0, 0, 0, 1 }, { "sh", 0, 0, 0, 0, 0 },
		{ "sd", 0, 0, 0, 0, 0 }, { "ac", 0, 0, 0, 0, 0 },
	};
	char line[64];
	struct bz_attrs a;
	size_t i, form;

	/* the first, in the middle, the last, with and without a blank */
	static const char *const forms[] = { "VmFlags: %s rd wr ac ",
		"VmFlags: rd wr %s ac ", "VmFlags: rd wr %s ",
		"VmFlags: rd wr %s" };

	for (i = 0; i < COUNT_OF(each); i++)
		for (form = 0; form < COUNT_OF(forms); form++) {
			snprintf(line, sizeof(line), forms[form], each[i].flag);
			one("rw-p", "", line, &a);
			CHECKF(a.advices == !!each[i].advice &&
			       a.advice[0] == each[i].advice, "%s", line);
			CHECKF(a.unkept == each[i].unkept, "%s", line);
			CHECKF(a.watched == (each[i].flag[0] == 'u'), "%s",
			       line);
			CHECKF(a.locked == each[i].locked, "%s", line);
			CHECKF(a.noreserve == each[i].noreserve, "%s", line);
			CHECKF((a.memory.kind == BZ_MEMORY_ANON) ==
			       !each[i].other, "%s",
			       line);
		}
	one("rw-p", "", "VmFlags: dd dc wf hg nh mg sr rr dd dc wf", &a);
	CHECK_EQ(a.advices, sizeof(a.advice));
	one("rw-p", "", "ProtectionKey:        15\nVmFlags: rd ", &a);
	CHECK_EQ(a.pkey, 15);
	one("rw-p", "", "THPeligible:           0\nVmFlags:", &a);
	CHECK(!a.advices && !a.unkept);
}

/* The path of another mapping may be longer than a page. */
static void long_lines(void)
{
	static char text[40000];
	static const size_t lengths[] = { 4000, 4020, 4021, 4022, 4023, 4024,
		4090, 4095, 4096, 4097, 8191, 8192, 8193, 20000 };
	struct bz_attrs a;
	size_t i, chunk;

	for (i = 0; i < COUNT_OF(lengths); i++)
		for (chunk = 511; chunk < 9000; chunk = chunk * 3 + 1) {
			int n = sprintf(text, "7f0000000000-7f0000001000 r--p "
					"00000000 08:01 77   /");

			memset(text + n, 'd', lengths[i]);
			sprintf(text + n + lengths[i], "\n" SIZES
				"VmFlags: rd lo gd \n"
				"7f0000001000-7f0000002000 rw-p 00000000 00:00 "
				"0 \n" SIZES "VmFlags: rd wr \n");
			CHECK_EQ(read_at(0x7f0000001000, text, chunk, &a), 0);
			CHECK(a.memory.kind == BZ_MEMORY_ANON && !a.locked && !a.unkept);
			CHECK_EQ(read_at(0x7f0000000000, text, chunk, &a), 0);
			CHECK(a.memory.kind != BZ_MEMORY_ANON && a.locked && a.unkept);
		}
}

/* Cut off anywhere: an answer, or "not there", never half of it. */
static void cut(void)
{
	static const char whole[] =
		"7f0000001000-7f0000005000 rw-p 00000000 00:00 0 \n" SIZES
		"VmFlags: rd wr dd \n";
	char text[sizeof(whole)];
	struct bz_attrs a;
	size_t n;

	for (n = 0; n < sizeof(whole); n++) {
		int r;

		memcpy(text, whole, n);
		text[n] = '\0';
		r = read_at(0x7f0000001000, text, 0, &a);
		CHECK_EQ(r, n == sizeof(whole) - 1 ? 0 : -ENOENT);
		CHECK(r || a.advices == 1);
	}
}

/* Every call fails in every way: what it said, and nothing left open. */
static void failing(void)
{
	static const int errors[] = { ENOMEM, EINVAL, EACCES, EIO, EMFILE,
				      ENOENT };
	uint32_t n, fds;
	struct bz_attrs a;
	size_t e;

	unit_page();
	fds = unit_fds();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n < 1000; n++) {
			int r;

			double_reset();
			double_fail(n, errors[e]);
			double_smaps(NULL, 300);
			double_watch();
			r = bz_attrs_read((uint64_t)scratch, scratch, &a);
			double_rest();
			CHECK_EQ(unit_fds(), fds);
			if (!double_lies())
				break;
			/* no /proc is not: nothing is mapped there */
			if (n == 1 && errors[e] == ENOENT)
				CHECK_EQ(r, -ENOSYS);
			else if (r)
				CHECK_EQ(r, -errors[e]);
		}
}

/* An interrupted read is none. */
static void interrupted(void)
{
	struct double_rule rule = { .nr = SYS_read, .nth = 2, .err = EINTR };
	struct bz_attrs a;

	unit_page();
	double_rule(&rule);
	double_smaps(NULL, 100);
	double_watch();
	CHECK_EQ(bz_attrs_read((uint64_t)&a, scratch, &a), 0);
	CHECK_EQ(double_lies(), 1);
	double_rest();
	CHECK_EQ(a.prot, PROT_READ | PROT_WRITE);
}

static const struct tap_case cases[] = {
	{ .name = "permissions", .run = permissions },
	{ .name = "names", .run = names },
	{ .name = "flags", .run = flags },
	{ .name = "lines longer than a page", .run = long_lines },
	{ .name = "cut off anywhere", .run = cut },
	{ .name = "every call fails", .run = failing },
	{ .name = "an interrupted read", .run = interrupted },
};
TAP_MAIN(cases)
