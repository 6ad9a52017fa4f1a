/* SPDX-License-Identifier: MIT */
/*
 * "SDM" is Intel's Software Developer's Manual, volume 3B, chapter "Machine-Check
 * Architecture": 15 for a decade, its sections' numbers are of that time; later
 * editions have moved the chapter. "APM" is AMD's Architecture Programmer's
 * Manual, volume 2, chapter 9. Where one is named, the other agrees.
 */
#include "vmm/pure/encode.h"

/* IA32_MCG_CAP: SDM 15.3.1.1 */
#define MCG_CMCI_P	(1u << 10)	/* counts corrected errors, interrupts */

/* IA32_MCG_STATUS: SDM 15.3.1.2, APM 9.3.1.2 */
#define RIPV		0x1u		/* the program can go on at RIP */
#define EIPV		0x2u		/* RIP has to do with the error */
#define MCIP		0x4u		/* a machine check is in progress */
#define LMCE_S		0x8u		/* Intel: this processor alone has it */

/* IA32_MCi_STATUS: SDM 15.3.2.2, APM 9.3.2.2 */
#define VAL		(UINT64_C(1) << 63)
#define UC		(UINT64_C(1) << 61)	/* not corrected */
#define EN		(UINT64_C(1) << 60)	/* was enabled in MCi_CTL */
#define MISCV		(UINT64_C(1) << 59)
#define ADDRV		(UINT64_C(1) << 58)
/* ... with recovery (MCG_SER_P): SDM 15.6.2 */
#define S		(UINT64_C(1) << 56)	/* was signalled by an exception */
#define AR		(UINT64_C(1) << 55)	/* act before anything is run again */
/* ... with CMCI: SDM 15.3.2.2.1 and 15.5; bits 52:38 */
#define ONE_CORRECTED	(UINT64_C(1) << 38)
/* ... of AMD: APM 9.3.2.2 */
#define DEFERRED	(UINT64_C(1) << 44)	/* nobody has consumed it yet */
#define POISON		(UINT64_C(1) << 43)	/* data known to be bad */

/* IA32_MCi_MISC: SDM 15.3.2.4, table 15-3. Intel's; AMD has it for counters, of
 * which bit 63 (none is there) is clear, and no rule for the rest. */
#define MISC_PHYSICAL	(UINT64_C(2) << 6)	/* address mode, bits 8:6 */

/* Error codes, bits 15:0: SDM 15.9.3.2, 15.9.3.1, and 15.9.2 "memory controller":
 * 000F 0000 1MMM CCCC, read, channel not known. */
#define DATA_LOAD	0x0134u
#define INSTRUCTION_FETCH 0x0150u
#define SCRUBBING	0x00c0u
#define CONTROLLER_READ	0x009fu
/* APM 9.3.2.2, "memory hierarchy": 0000 0001 RRRR TTLL */
#define AMD_DATA_LOAD	0x0135u		/* data read, data, level 1 */
#define AMD_FETCH	0x0151u		/* instruction fetch, instruction, level 1 */
#define AMD_MEMORY_READ	0x011bu		/* read, generic, generic: memory itself */

#define PAGE_LSB	12
#define MOST_LSB	30

static uint64_t met_by_this(const struct bzv_said *said)
{
	return MCIP | (said->restart ? RIPV : 0) | (said->at_ip ? EIPV : 0);
}

/* SDM 15.6.3, table 15-6: the classes are told apart by UC, S and AR. */
static void intel(const struct bzv_said *said, struct bzv_mce *ret)
{
	switch (said->error) {
	case BEZ_VM_ERROR_SRAR:
		ret->status |= UC | EN | S | AR |
			       (said->fetch ? INSTRUCTION_FETCH : DATA_LOAD);
		ret->mcg_status = met_by_this(said) |
				  (said->lmce ? LMCE_S : 0);
		return;
	case BEZ_VM_ERROR_SRAO:
		/* RIP has nothing to do with it, and may always go on */
		ret->status |= UC | EN | S | SCRUBBING;
		ret->mcg_status = RIPV | MCIP;
		return;
	case BEZ_VM_ERROR_UCNA:
		ret->status |= UC | EN | CONTROLLER_READ;
		return;
	default:
		ret->status |= EN | CONTROLLER_READ;
		if (said->mcg_cap & MCG_CMCI_P)
			ret->status |= ONE_CORRECTED;
	}
}

/* APM 9.3.2.2: what was not consumed is deferred, is not UC, and raises no
 * exception. Without POISON Linux would not use its address. */
static void amd(const struct bzv_said *said, struct bzv_mce *ret)
{
	switch (said->error) {
	case BEZ_VM_ERROR_SRAR:
		ret->status |= UC | EN | POISON |
			       (said->fetch ? AMD_FETCH : AMD_DATA_LOAD);
		ret->mcg_status = met_by_this(said);
		return;
	case BEZ_VM_ERROR_SRAO:
	case BEZ_VM_ERROR_UCNA:
		ret->status |= EN | DEFERRED | POISON | AMD_MEMORY_READ;
		return;
	default:
		ret->status |= EN | AMD_MEMORY_READ;
	}
}

void bzv_encode(const struct bzv_said *said, struct bzv_mce *ret)
{
	unsigned int lsb = said->lsb < PAGE_LSB ? PAGE_LSB :
			   said->lsb > MOST_LSB ? MOST_LSB : said->lsb;

	ret->status = VAL | MISCV | ADDRV;
	ret->addr = said->gpa >> lsb << lsb;
	ret->misc = MISC_PHYSICAL | lsb;
	ret->mcg_status = 0;
	if (said->vendor == BEZ_VM_VENDOR_AMD)
		amd(said, ret);
	else
		intel(said, ret);
}

/* Not EN: this bank has nothing to say, SDM 15.10.4.1. KVM wants one that is valid. */
void bzv_encode_other(struct bzv_mce *ret)
{
	ret->status = VAL | UC;
	ret->addr = 0;
	ret->misc = 0;
	ret->mcg_status = RIPV | MCIP;
}
