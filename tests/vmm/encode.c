/* SPDX-License-Identifier: MIT */
/*
 * The registers of a machine check, held against numbers that were put together
 * from the manuals by hand, against QEMU's, and against what Linux makes of them.
 */
#include <string.h>

#include "tap.h"
#include "vmm/pure/encode.h"

#define BIT(n)	(UINT64_C(1) << (n))
#define INTEL	BEZ_VM_VENDOR_INTEL
#define AMD	BEZ_VM_VENDOR_AMD
#define SRAR	BEZ_VM_ERROR_SRAR
#define SRAO	BEZ_VM_ERROR_SRAO
#define UCNA	BEZ_VM_ERROR_UCNA
#define CORRECTED BEZ_VM_ERROR_CORRECTED
#define CMCI	((uint32_t)BIT(10))

/* Names of bits, apart from those of encode.c on purpose. */
enum { VAL = 63, OVER = 62, UC = 61, EN = 60, MISCV = 59, ADDRV = 58, PCC = 57,
       S = 56, AR = 55, DEFERRED = 44, POISON = 43 };
enum { RIPV = 0, EIPV = 1, MCIP = 2, LMCE = 3 };

static int has(uint64_t word, int bit)
{
	return (int)(word >> bit & 1);
}

static struct bzv_mce encoded(const struct bzv_said *said)
{
	struct bzv_mce mce;

	memset(&mce, 0xee, sizeof(mce));
	bzv_encode(said, &mce);
	return mce;
}

/* ------------------------------------------------------------- literally */

static const struct {
	enum bez_vm_vendor vendor;
	enum bez_vm_error error;
	uint32_t mcg_cap;
	uint64_t status;
	uint8_t fetch;			/* of those that are met */
} status[] = {
	/* VAL UC EN MISCV ADDRV S AR, 0134: SDM 15.9.3.2, data load */
	{ INTEL, SRAR, 0, 0xbd80000000000134, 0 },
	{ INTEL, SRAR, CMCI, 0xbd80000000000134, 0 },
	/* 0150: instruction fetch */
	{ INTEL, SRAR, 0, 0xbd80000000000150, 1 },
	/* VAL UC EN MISCV ADDRV S, 00c0: SDM 15.9.3.1, memory scrubbing */
	{ INTEL, SRAO, 0, 0xbd000000000000c0, 0 },
	{ INTEL, SRAO, CMCI, 0xbd000000000000c0, 1 },
	/* VAL UC EN MISCV ADDRV, 009f: SDM 15.9.2, memory controller */
	{ INTEL, UCNA, 0, 0xbc0000000000009f, 0 },
	{ INTEL, UCNA, CMCI, 0xbc0000000000009f, 0 },
	/* VAL EN MISCV ADDRV, with CMCI a count of 1 in 52:38 */
	{ INTEL, CORRECTED, 0, 0x9c0000000000009f, 0 },
	{ INTEL, CORRECTED, CMCI, 0x9c0000400000009f, 0 },
	/* VAL UC EN MISCV ADDRV POISON, 0135: APM 9.3.2.2, data read, level 1 */
	{ AMD, SRAR, 0, 0xbc00080000000135, 0 },
	{ AMD, SRAR, CMCI, 0xbc00080000000135, 0 },
	/* 0151: instruction fetch, level 1 */
	{ AMD, SRAR, 0, 0xbc00080000000151, 1 },
	/* VAL EN MISCV ADDRV DEFERRED POISON, 011b: read, generic */
	{ AMD, SRAO, 0, 0x9c0018000000011b, 0 },
	{ AMD, SRAO, CMCI, 0x9c0018000000011b, 0 },
	{ AMD, UCNA, 0, 0x9c0018000000011b, 0 },
	{ AMD, UCNA, CMCI, 0x9c0018000000011b, 0 },
	/* AMD counts corrected errors in MCi_MISC */
	{ AMD, CORRECTED, 0, 0x9c0000000000011b, 0 },
	{ AMD, CORRECTED, CMCI, 0x9c0000000000011b, 0 },
};

/* RIPV is 1, EIPV 2, MCIP 4, LMCE 8. */
static const struct {
	uint8_t restart, at_ip, lmce;
	uint64_t srar_intel, srar_amd, srao_intel;
} mcg[] = {
	{ 0, 0, 0, 0x4, 0x4, 0x5 },
	{ 0, 0, 1, 0xc, 0x4, 0x5 },
	{ 0, 1, 0, 0x6, 0x6, 0x5 },
	{ 0, 1, 1, 0xe, 0x6, 0x5 },
	{ 1, 0, 0, 0x5, 0x5, 0x5 },
	{ 1, 0, 1, 0xd, 0x5, 0x5 },
	{ 1, 1, 0, 0x7, 0x7, 0x5 },
	{ 1, 1, 1, 0xf, 0x7, 0x5 },
};

static const struct {
	uint64_t gpa;
	uint8_t lsb;
	uint64_t addr, misc;
} where[] = {
	/* address mode 2 (physical) in 8:6, SDM table 15-3 */
	{ 0x0, 12, 0x0, 0x8c },
	{ 0x123456789abc, 12, 0x123456789000, 0x8c },
	{ 0xffffffffffffffff, 12, 0xfffffffffffff000, 0x8c },
	{ 0x123456789abc, 21, 0x123456600000, 0x95 },
	{ 0x123456789abc, 30, 0x123440000000, 0x9e },
	{ 0x12345678, 16, 0x12340000, 0x90 },
	/* widths that there are none of */
	{ 0x123456789abc, 0, 0x123456789000, 0x8c },
	{ 0x123456789abc, 11, 0x123456789000, 0x8c },
	{ 0x123456789abc, 31, 0x123440000000, 0x9e },
	{ 0x123456789abc, 255, 0x123440000000, 0x9e },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t want_mcg(enum bez_vm_vendor vendor, enum bez_vm_error error,
			 size_t j)
{
	if (error == SRAR)
		return vendor == AMD ? mcg[j].srar_amd : mcg[j].srar_intel;
	return error == SRAO && vendor == INTEL ? mcg[j].srao_intel : 0;
}

static void literally(void)
{
	size_t i, j, k;

	for (i = 0; i < COUNT(status); i++)
		for (j = 0; j < COUNT(mcg); j++)
			for (k = 0; k < COUNT(where); k++) {
				struct bzv_said said = {
					status[i].vendor, status[i].error,
					where[k].gpa, where[k].lsb,
					mcg[j].restart, mcg[j].at_ip,
					mcg[j].lmce, status[i].mcg_cap,
					status[i].fetch,
				};
				struct bzv_mce m = encoded(&said);

				CHECKF(m.status == status[i].status,
				       "row %zu: %#llx", i,
				       (unsigned long long)m.status);
				CHECKF(m.mcg_status ==
				       want_mcg(said.vendor, said.error, j),
				       "rows %zu, %zu: %#llx", i, j,
				       (unsigned long long)m.mcg_status);
				CHECK_EQ(m.addr, where[k].addr);
				CHECK_EQ(m.misc, where[k].misc);
			}
}

static void others(void)
{
	struct bzv_mce m;

	memset(&m, 0xee, sizeof(m));
	bzv_encode_other(&m);
	CHECK_EQ(m.status, 0xa000000000000000);
	CHECK_EQ(m.addr, 0);
	CHECK_EQ(m.misc, 0);
	CHECK_EQ(m.mcg_status, 0x5);
}

/* ---------------------------------------------------------------- QEMU's */

/* What QEMU 10.2 gives its guest for a page of 4 KiB. */
static void as_qemu(void)
{
	struct bzv_said said = { .gpa = 0x40001000, .lsb = 12, .restart = 1,
				 .at_ip = 1 };
	struct bzv_mce m;

	said.vendor = INTEL;
	said.error = SRAR;
	m = encoded(&said);
	CHECK_EQ(m.status, 0xbd80000000000134);
	CHECK_EQ(m.mcg_status, 0x7);
	CHECK_EQ(m.misc, 0x8c);
	CHECK_EQ(m.addr, 0x40001000);
	said.error = SRAO;
	m = encoded(&said);
	CHECK_EQ(m.status, 0xbd000000000000c0);
	CHECK_EQ(m.mcg_status, 0x5);
	CHECK_EQ(m.misc, 0x8c);
	/* QEMU says no code: ours is what such a processor's log would have */
	said.vendor = AMD;
	said.error = SRAR;
	m = encoded(&said);
	CHECK_EQ(m.status & ~0xffffull, 0xbc00080000000000);
	CHECK_EQ(m.mcg_status, 0x7);
	CHECK_EQ(m.misc, 0x8c);
	/* QEMU names MCG_STATUS 5, and does not write it: no exception comes */
	said.error = SRAO;
	m = encoded(&said);
	CHECK_EQ(m.status & ~0xffffull, 0x9c00180000000000);
	CHECK_EQ(m.mcg_status, 0);
	CHECK_EQ(m.misc, 0x8c);
	bzv_encode_other(&m);
	CHECK_EQ(m.status, 0xa000000000000000);
	CHECK_EQ(m.mcg_status, 0x5);
}

/* ------------------------------------------------ what holds of all of them */

static void holds_of(const struct bzv_said *said)
{
	struct bzv_mce m = encoded(said);
	uint64_t s = m.status;
	int ucna = has(s, UC) && !has(s, S) && !has(s, AR) && !m.mcg_status;

	CHECK(has(s, VAL) && has(s, EN) && has(s, ADDRV) && has(s, MISCV));
	CHECK(!has(s, PCC) && !has(s, OVER));
	/* an exception comes exactly where KVM raises one */
	CHECK_EQ(has(m.mcg_status, MCIP), has(s, UC) && !ucna);
	CHECK(has(m.mcg_status, MCIP) || !m.mcg_status);
	CHECK_EQ(ucna, said->vendor == INTEL && said->error == UCNA);
	/* deferred is not UC, and corrected is neither */
	CHECK(!has(s, UC) || !has(s, DEFERRED));
	CHECK(said->error != CORRECTED || !(has(s, UC) || has(s, POISON)));
	if (said->vendor == INTEL) {
		CHECK(!has(s, AR) || has(s, S));
		CHECK(!has(s, S) || has(s, UC));
		CHECK(!has(s, DEFERRED) && !has(s, POISON));
		CHECK_EQ(has(s, AR), said->error == SRAR);
	} else {
		/* other meanings there, APM 9.3.2.2 */
		CHECK(!has(s, AR) && !has(s, S));
		CHECK_EQ(has(s, POISON), said->error != CORRECTED);
	}
	CHECK_EQ(has(m.mcg_status, LMCE), said->vendor == INTEL &&
		 said->error == SRAR && said->lmce);
	/* nothing below the width, and the bit that it begins with */
	CHECK_EQ(m.addr & (BIT(m.misc & 0x3f) - 1), 0);
	CHECK_EQ(m.addr, said->gpa & ~(BIT(m.misc & 0x3f) - 1));
	CHECK_EQ(m.misc >> 6, 2);
	CHECK(!(s & ~0xffffull & (BIT(38) - 1)));
}

static void of_all(void)
{
	struct bzv_said said;
	unsigned int bits, lsb;

	for (bits = 0; bits < 256; bits++)
		for (lsb = 12; lsb <= 30; lsb++) {
			said = (struct bzv_said){
				.vendor = bits & 1 ? INTEL : AMD,
				.error = (enum bez_vm_error)(1 + (bits >> 1 & 3)),
				.gpa = 0xdeadbeefcafe, .lsb = (uint8_t)lsb,
				.restart = bits >> 3 & 1, .at_ip = bits >> 4 & 1,
				.lmce = bits >> 5 & 1,
				.mcg_cap = bits >> 6 & 1 ? UINT32_MAX : 0,
				.fetch = bits >> 7 & 1,
			};
			holds_of(&said);
		}
}

/* ----------------------------------------------- as Linux would grade them */

enum grade { NOTHING, KEEP, SOME, OPTIONAL, LATER, REQUIRED, PANIC };
enum place { ANYWHERE, IN_USER, IN_KERNEL };

#define RECOVERY	(BIT(UC) | BIT(S) | BIT(AR))
#define USABLE		(BIT(ADDRV) | BIT(MISCV))

/*
 * arch/x86/kernel/cpu/mce/severity.c in short, for a processor with recovery: the
 * first that fits. @polled: is not asked in the exception alone.
 */
static const struct {
	uint64_t mask, is;
	uint64_t mcg_mask, mcg_is;
	int polled;
	enum place place;
	enum grade grade;
} rule[] = {
	{ BIT(VAL), 0, 0, 0, 1, ANYWHERE, NOTHING },
	{ BIT(EN), 0, 0, 0, 0, ANYWHERE, NOTHING },
	{ BIT(PCC), BIT(PCC), 0, 0, 1, ANYWHERE, PANIC },
	{ 0, 0, BIT(MCIP), 0, 0, ANYWHERE, PANIC },
	/* nothing is known of RIP at all */
	{ 0, 0, BIT(RIPV) | BIT(EIPV), 0, 0, ANYWHERE, PANIC },
	{ 0, 0, BIT(RIPV), 0, 0, IN_KERNEL, PANIC },
	{ BIT(UC) | BIT(AR) | 0xeff0, BIT(UC) | 0xc0, 0, 0, 1, ANYWHERE,
	  OPTIONAL },
	{ RECOVERY, BIT(UC), 0, 0, 1, ANYWHERE, LATER },
	{ BIT(OVER) | RECOVERY, BIT(UC) | BIT(AR), 0, 0, 1, ANYWHERE, PANIC },
	{ BIT(S), 0, 0, 0, 1, ANYWHERE, KEEP },
	{ BIT(OVER) | RECOVERY, BIT(OVER) | RECOVERY, 0, 0, 1, ANYWHERE, PANIC },
	/* "but this processor did not meet it" */
	{ RECOVERY | USABLE, RECOVERY | USABLE, BIT(RIPV) | BIT(EIPV), BIT(RIPV),
	  1, ANYWHERE, KEEP },
	{ RECOVERY | USABLE | 0xefff, RECOVERY | USABLE | 0x134, 0, 0, 1, IN_USER,
	  REQUIRED },
	{ RECOVERY | USABLE | 0xefff, RECOVERY | USABLE | 0x150, 0, 0, 1, IN_USER,
	  REQUIRED },
	{ RECOVERY, RECOVERY, 0, 0, 1, ANYWHERE, PANIC },
	{ 0, 0, 0, 0, 1, ANYWHERE, SOME },
};

static enum grade grade_intel(const struct bzv_mce *m, enum place place,
			      int polled)
{
	size_t i;

	for (i = 0; ; i++)
		if ((m->status & rule[i].mask) == rule[i].is &&
		    (m->mcg_status & rule[i].mcg_mask) == rule[i].mcg_is &&
		    (!polled || rule[i].polled) &&
		    (!rule[i].place || rule[i].place == place))
			return rule[i].grade;
}

/* With overflow recovery, as KVM's guests have it. */
static enum grade grade_amd(const struct bzv_mce *m, enum place place)
{
	if (has(m->status, PCC))
		return PANIC;
	if (has(m->status, UC))
		return place == IN_KERNEL ? PANIC : REQUIRED;
	return has(m->status, DEFERRED) ? LATER : KEEP;
}

/* May the page that it names be taken away? mce_usable_address(). */
static int usable(const struct bzv_mce *m, enum bez_vm_vendor vendor)
{
	if (!has(m->status, ADDRV))
		return 0;
	if (vendor == AMD)
		return has(m->status, POISON);
	return has(m->status, MISCV) && (m->misc & 0x3f) <= 12 &&
	       (m->misc >> 6 & 7) == 2;
}

static enum grade grade(const struct bzv_said *said, enum place place)
{
	struct bzv_mce m = encoded(said);
	int polled = !has(m.mcg_status, MCIP);

	return said->vendor == AMD ? grade_amd(&m, place) :
				     grade_intel(&m, place, polled);
}

static void graded_intel(void)
{
	struct bzv_said said = { .vendor = INTEL, .error = SRAR, .lsb = 12,
				 .restart = 1, .at_ip = 1 };
	struct bzv_mce m;

	CHECK_EQ(grade(&said, IN_USER), REQUIRED);
	CHECK_EQ(grade(&said, IN_KERNEL), PANIC);
	said.fetch = 1;
	CHECK_EQ(grade(&said, IN_USER), REQUIRED);
	CHECK_EQ(grade(&said, IN_KERNEL), PANIC);
	said.fetch = 0;
	said.lmce = 1;
	CHECK_EQ(grade(&said, IN_USER), REQUIRED);
	said.restart = 0;
	CHECK_EQ(grade(&said, IN_USER), REQUIRED);
	said.at_ip = 0;
	CHECK_EQ(grade(&said, IN_USER), PANIC);
	/* what encode.h says of RIPV alone */
	said.restart = 1;
	CHECK_EQ(grade(&said, IN_USER), KEEP);
	said.at_ip = said.restart = 0;
	said.error = SRAO;
	CHECK_EQ(grade(&said, IN_USER), OPTIONAL);
	CHECK_EQ(grade(&said, IN_KERNEL), OPTIONAL);
	said.error = UCNA;
	CHECK_EQ(grade(&said, IN_KERNEL), LATER);
	said.error = CORRECTED;
	CHECK_EQ(grade(&said, IN_USER), KEEP);
	said.mcg_cap = CMCI;
	CHECK_EQ(grade(&said, IN_KERNEL), KEEP);
	bzv_encode_other(&m);
	CHECK_EQ(grade_intel(&m, IN_KERNEL, 0), NOTHING);
	CHECK_EQ(grade_intel(&m, IN_USER, 0), NOTHING);
}

static void graded_amd(void)
{
	struct bzv_said said = { .vendor = AMD, .error = SRAR, .lsb = 12,
				 .restart = 1, .at_ip = 1 };

	CHECK_EQ(grade(&said, IN_USER), REQUIRED);
	CHECK_EQ(grade(&said, IN_KERNEL), PANIC);
	said.error = SRAO;
	CHECK_EQ(grade(&said, IN_KERNEL), LATER);
	said.error = UCNA;
	CHECK_EQ(grade(&said, IN_USER), LATER);
	said.error = CORRECTED;
	CHECK_EQ(grade(&said, IN_USER), KEEP);
}

static void used(void)
{
	struct bzv_said said = { .gpa = 0x1000, .lsb = 12 };
	struct bzv_mce m;
	int error;

	for (error = SRAR; error <= CORRECTED; error++) {
		said.error = (enum bez_vm_error)error;
		said.lsb = 12;
		said.vendor = INTEL;
		m = encoded(&said);
		CHECK(usable(&m, INTEL));
		/* what encode.h says of widths */
		said.lsb = 13;
		m = encoded(&said);
		CHECK(!usable(&m, INTEL));
		said.vendor = AMD;
		m = encoded(&said);
		CHECK_EQ(usable(&m, AMD), error != CORRECTED);
	}
	bzv_encode_other(&m);
	CHECK(!usable(&m, INTEL) && !usable(&m, AMD));
}

static const struct tap_case cases[] = {
	{ .name = "every error is what the manuals' bits come to", .run = literally },
	{ .name = "the others of a broadcast", .run = others },
	{ .name = "QEMU writes the same, but for AMD's code", .run = as_qemu },
	{ .name = "what holds of all", .run = of_all },
	{ .name = "Linux grades Intel's as they are meant", .run = graded_intel },
	{ .name = "Linux grades AMD's as they are meant", .run = graded_amd },
	{ .name = "Linux uses their address", .run = used },
};
TAP_MAIN(cases)
