/* SPDX-License-Identifier: MIT */
/* First room: what the kernel reported, for every code there may be. */
#include <string.h>

#include "fault/fault.h"
#include "unit.h"

static siginfo_t info_of(int code, uint64_t addr, int lsb)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = code;
	info.si_addr = (void *)addr;
	info.si_addr_lsb = (short)lsb;
	return info;
}

static uint32_t cause_of(int code, uint64_t addr)
{
	/* of the kernel's own addresses: KVM of Linux 6.1 and older */
	if (code != 2 && (int64_t)addr < 0)
		addr = 0;
	switch (code) {
	case 2:			/* BUS_ADRERR */
		return BEZ_CAUSE_ADRERR;
	case 4:			/* BUS_MCEERR_AR; Linux 5.10 without address */
		return addr ? BEZ_CAUSE_POISON_AR : BEZ_CAUSE_MISSING;
	case 5:			/* BUS_MCEERR_AO */
		return addr ? BEZ_CAUSE_POISON_AO : BEZ_CAUSE_SENT;
	case 0x80:		/* SI_KERNEL */
		return BEZ_CAUSE_MISSING;
	default:
		return BEZ_CAUSE_SENT;
	}
}

static void every_code(void)
{
	static const uint64_t addrs[] = { 0, 1, 0x1000, 0x7f1234567abc,
					  0xffff888000000000, UINT64_MAX };
	static const int lsbs[] = { 0, 1, 12, 16, 21, 30, 63 };
	size_t a, l;
	int code;

	for (code = -128; code <= 300; code++)
		for (a = 0; a < COUNT_OF(addrs); a++)
			for (l = 0; l < COUNT_OF(lsbs); l++) {
				siginfo_t info = info_of(code, addrs[a],
							 lsbs[l]);
				uint32_t cause = cause_of(code, addrs[a]);
				int named = cause == BEZ_CAUSE_ADRERR ||
					    cause == BEZ_CAUSE_POISON_AR ||
					    cause == BEZ_CAUSE_POISON_AO;
				int wide = named && cause != BEZ_CAUSE_ADRERR;
				struct bz_fault f;

				/* whatever was there before */
				memset(&f, 0xa5, sizeof(f));
				bz_decode(&info, &f);
				CHECK_EQ(f.cause, cause);
				CHECK_EQ(f.si_code, code);
				CHECK_EQ(f.addr, named ? addrs[a] : 0);
				CHECK_EQ(f.fix, 0);
				CHECK_EQ(f.nowhere, (code == 4 || code == 5) &&
					 (int64_t)addrs[a] < 0);
				CHECK_EQ(f.lsb, wide ? lsbs[l] : 0);
			}
}

/* SIGSEGV: codes of the kernel are about an address, but for one; all others
 * are about none. */
static void every_code_of_segv(void)
{
	int code;

	for (code = -128; code <= 300; code++) {
		siginfo_t info = info_of(code, 0x7f1234567abc, 12);
		int raised = code > 0, named = raised && code != SI_KERNEL;
		struct bz_fault f;

		memset(&f, 0xa5, sizeof(f));
		bz_decode_segv(&info, &f);
		CHECK_EQ(f.cause, raised ? BEZ_CAUSE_SEGV : BEZ_CAUSE_SENT);
		CHECK_EQ(f.si_code, code);
		CHECK_EQ(f.addr, named ? 0x7f1234567abc : 0);
		CHECK_EQ(f.lsb, 0);
	}
}

/* One page, whatever the width: nothing else can be placed. */
static void extents(void)
{
	size_t page = unit_page(), off;
	int lsb;

	for (lsb = 0; lsb <= 30; lsb++)
		for (off = 0; off < page; off += page / 7) {
			struct bz_fault f = {
				.addr = 0x7f0000200000 + off,
				.cause = BEZ_CAUSE_POISON_AR,
				.lsb = (uint8_t)lsb,
			};
			struct bz_extent x = bz_extent_of(&f, (struct bz_memory){ 0 });

			CHECK_EQ(x.start, 0x7f0000200000);
			CHECK_EQ(x.width, page);
		}
}

/* Names for all of them, and none twice. */
static void cause_names(void)
{
	int i, j;

	for (i = BEZ_CAUSE_NONE; i <= BEZ_CAUSE_SAID; i++) {
		CHECK(strcmp(bez_cause_name(i), "unknown"));
		for (j = 0; j < i; j++)
			CHECK(strcmp(bez_cause_name(i), bez_cause_name(j)));
	}
	CHECK(!strcmp(bez_cause_name(BEZ_CAUSE_SAID + 1), "unknown"));
	CHECK(!strcmp(bez_cause_name((enum bez_cause)-1), "unknown"));
}

static const struct tap_case cases[] = {
	{ .name = "every code, address and width", .run = every_code },
	{ .name = "every code of SIGSEGV", .run = every_code_of_segv },
	{ .name = "an extent is a page", .run = extents },
	{ .name = "causes have names", .run = cause_names },
};
TAP_MAIN(cases)
