/* SPDX-License-Identifier: MIT */
/*
 * Machine checks, as an operating system takes them. What was signalled is served by
 * the handler: a page that a task needs now takes the task off its CPU, any other is
 * taken out of use later, outside of the handler, which locks nothing. What was not
 * signalled is found by looking into the banks now and then.
 *
 * Intel: SDM volume 3B, chapters "Machine-Check Architecture" and "Interpreting
 * Machine Check Error Codes". AMD: APM volume 2, chapter 9.
 */
#include "kernel.h"

#define BIT(n)	(1ull << (n))

enum {
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17a,
	MSR_MCG_CTL = 0x17b,
	MSR_MC0_CTL = 0x400,	/* then STATUS, ADDR, MISC; of each bank */
	MSR_MCG_EXT_CTL = 0x4d0
};

#define CAP_BANKS	0xffu
#define CAP_CTL		BIT(8)
#define CAP_SER		BIT(24)
#define CAP_LMCE	BIT(27)
#define MCG_RIPV	BIT(0)
#define MCG_EIPV	BIT(1)
#define MCG_MCIP	BIT(2)
#define MCG_LMCES	BIT(3)
#define MCG_KNOWN	(MCG_RIPV | MCG_EIPV | MCG_MCIP | MCG_LMCES)

#define ST_VAL		BIT(63)
#define ST_OVER		BIT(62)
#define ST_UC		BIT(61)
#define ST_EN		BIT(60)
#define ST_MISCV	BIT(59)
#define ST_ADDRV	BIT(58)
#define ST_PCC		BIT(57)
#define ST_S		BIT(56)	/* Intel: signalled */
#define ST_AR		BIT(55)	/* Intel: action required */
#define ST_DEFERRED	BIT(44)	/* AMD */
#define ST_POISON	BIT(43)	/* AMD */
#define ST_CODE		0xffffu

#define MISC_LSB(m)	((m) & 0x3f)
#define MISC_MODE(m)	((m) >> 6 & 7)
#define MODE_PHYSICAL	2

#define CR4_MCE		BIT(6)

/* As enum bez_vm_error, which the monitor is told; those below are told nothing. */
enum kind { SRAR = 1, SRAO = 2, UCNA = 3, CORRECTED = 4, NONSENSE };

struct bank {
	uint32_t index;
	uint64_t status, addr, misc;
};

static uint32_t msr_of(uint32_t bank, uint32_t which)
{
	return MSR_MC0_CTL + 4 * bank + which;
}

static uint32_t bank_count(void)
{
	return (uint32_t)msr_read(MSR_MCG_CAP) & CAP_BANKS;
}

/* 0: it is not valid. */
static int bank_read(uint32_t index, struct bank *b)
{
	b->index = index;
	b->status = msr_read(msr_of(index, 1));
	if (!(b->status & ST_VAL))
		return 0;
	b->addr = b->status & ST_ADDRV ? msr_read(msr_of(index, 2)) : 0;
	b->misc = b->status & ST_MISCV ? msr_read(msr_of(index, 3)) : 0;
	return 1;
}

static void bank_clear(uint32_t index)
{
	msr_write(msr_of(index, 1), 0);
}

static enum kind intel_kind(uint64_t status)
{
	uint64_t code = status & ST_CODE;

	if (!(status & ST_UC))
		return CORRECTED;
	if (!(status & ST_S)) {
		if (status & ST_AR)
			return NONSENSE;
		return status & ST_ADDRV ? UCNA : NONSENSE;
	}
	if (!(status & ST_EN) || !(status & ST_ADDRV) || !(status & ST_MISCV))
		return NONSENSE;
	if (status & ST_AR)	/* a load of data, an instruction fetch */
		return code == 0x134 || code == 0x150 ? SRAR : NONSENSE;
	/* the scrubber of memory, a write back from the last cache */
	return (code & 0xfff0) == 0xc0 || code == 0x17a ? SRAO : NONSENSE;
}

static enum kind amd_kind(uint64_t status)
{
	if (status & ST_DEFERRED)
		return status & ST_UC || !(status & ST_ADDRV) ? NONSENSE : SRAO;
	if (!(status & ST_UC))
		return CORRECTED;
	if (!(status & ST_POISON) || !(status & ST_EN) || !(status & ST_ADDRV))
		return NONSENSE;
	return SRAR;
}

static enum kind kind_of(const struct bank *b)
{
	/* more was lost than is said, or the processor does not know its own state */
	if (b->status & (ST_OVER | ST_PCC))
		return NONSENSE;
	return board.amd ? amd_kind(b->status) : intel_kind(b->status);
}

/* AMD's deferred errors raise no machine check. */
static int is_signalled(enum kind kind)
{
	return kind == SRAR || kind == NONSENSE ||
	       (kind == SRAO && !board.amd);
}

/* Which frame it is about. 0: none that can be. */
static uint32_t frame_of(const struct bank *b, uint32_t *ret_count)
{
	uint64_t lsb = 12, frame = b->addr >> 12;

	*ret_count = 1;
	if (b->status & ST_MISCV) {
		lsb = MISC_LSB(b->misc);
		if (MISC_MODE(b->misc) != MODE_PHYSICAL || lsb > 30) {
			nonsense("MISC", b->misc);
			return 0;
		}
	}
	if (lsb > 12) {
		*ret_count = 1u << (lsb - 12);
		frame &= ~(uint64_t)(*ret_count - 1);
	}
	if (frame != (uint32_t)frame || !frame_known((uint32_t)frame)) {
		nonsense("an address that no task can have", b->addr);
		return 0;
	}
	return (uint32_t)frame;
}

static void told(enum kind kind, uint32_t frame)
{
	out32((uint16_t)(PORT_TOLD + kind), frame);
}

static void found(struct cpu *c, uint32_t frame, uint32_t count)
{
	while (count--)
		if (frame_known(frame) && queue_put(&c->found, frame++))
			nonsense("too much is lost at once", frame);
}

/* The task on this CPU has touched it, and waits for what becomes of it. */
static void action_required(struct cpu *c, const struct frame *f, const struct bank *b,
			    uint64_t mcg_status)
{
	uint32_t count, frame = frame_of(b, &count);
	uint32_t met = (uint32_t)(b->addr >> 12);
	struct owner o;

	counts()->srar++;
	if (!frame)
		return;
	told(SRAR, met);
	if (c->lost)
		nonsense("two errors that require action", b->addr);
	if (!(f->cs & 3))
		nonsense("the kernel touches no such memory", b->addr);
	if ((mcg_status & MCG_RIPV) && !(mcg_status & MCG_EIPV))
		nonsense("which instruction is it", mcg_status);
	o = frame_owner(met);
	if (o.state != FRAME_USED || o.cpu != c->index || o.task != c->current)
		nonsense("the task has no such page", b->addr);
	else if (f->cs & 3)
		c->lost = met;
	if (count > 1)		/* the page itself is among them, and gone by then */
		found(c, frame, count);
}

static void serve_bank(struct cpu *c, const struct frame *f, const struct bank *b,
		       uint64_t mcg_status, enum kind kind)
{
	uint32_t count, frame;

	switch (kind) {
	case SRAR:
		action_required(c, f, b, mcg_status);
		break;
	case SRAO:
		counts()->srao++;
		frame = frame_of(b, &count);
		if (!frame)
			break;
		told(SRAO, frame);
		found(c, frame, count);
		break;
	default:
		nonsense("the status of a bank", b->status);
		break;
	}
}

void mce_serve(struct frame *f)
{
	struct cpu *c = this_cpu();
	uint64_t mcg_status = msr_read(MSR_MCG_STATUS);
	uint32_t i, seen = 0, banks = bank_count();
	struct bank b;

	if (c->serving++)
		nonsense("a machine check in a machine check", mcg_status);
	counts()->machine_checks++;
	counts()->local += !!(mcg_status & MCG_LMCES);
	if (!(mcg_status & MCG_MCIP) || (mcg_status & ~MCG_KNOWN))
		nonsense("MCG_STATUS", mcg_status);
	for (i = 0; i < banks; i++) {
		enum kind kind;

		if (!bank_read(i, &b))
			continue;
		kind = kind_of(&b);
		if (!is_signalled(kind))
			continue;
		seen++;
		serve_bank(c, f, &b, mcg_status, kind);
		bank_clear(i);
	}
	/* it was another CPU that has met something */
	if (!seen && !board.amd && mcg_status == (MCG_RIPV | MCG_MCIP))
		counts()->broadcast++;
	else if (!seen)
		nonsense("no bank says why", mcg_status);
	if (!(mcg_status & MCG_RIPV)) {
		if (!(f->cs & 3))
			panic("the kernel cannot go on at", f->rip);
		c->no_return = 1;
	}
	c->serving = 0;
	/* MCG_STATUS is cleared at the end of all, in boot.S */
}

static void poll_bank(const struct bank *b, enum kind kind)
{
	uint32_t count, frame;

	if (kind == CORRECTED) {
		counts()->corrected++;
		frame = frame_of(b, &count);
		if (frame)
			told(CORRECTED, frame);
		return;
	}
	counts()->deferred++;
	frame = frame_of(b, &count);
	if (!frame)
		return;
	told(kind, frame);
	/* not by the queue that the handler puts into */
	for (; count--; frame++)
		if (frame_known(frame))
			frame_send(this_cpu()->index, frame);
}

void mce_poll(void)
{
	uint32_t i, banks = bank_count();
	struct bank b;

	for (i = 0; i < banks; i++) {
		enum kind kind;

		if (!bank_read(i, &b))
			continue;
		kind = kind_of(&b);
		/* what is signalled the handler has cleared before we could see it;
		 * but it may have come between the reads of this bank */
		if (is_signalled(kind)) {
			if (msr_read(msr_of(i, 1)) == b.status)
				nonsense("nobody signalled", b.status);
			continue;
		}
		bank_clear(i);
		poll_bank(&b, kind);
	}
}

static void local_start(uint64_t cap)
{
	if (!board.lmce)
		return;
	if (!(cap & CAP_LMCE)) {
		say("there is no LMCE\n");
		return;
	}
	/* what firmware does: allow it, and lock that */
	msr_write(MSR_FEATURE_CONTROL, BIT(20) | BIT(0));
	msr_write(MSR_MCG_EXT_CTL, 1);
}

void mce_start(void)
{
	uint64_t cap = msr_read(MSR_MCG_CAP), cr4;
	uint32_t i;

	if (!(cap & CAP_BANKS))
		panic("no banks", cap);
	if (!board.amd && !(cap & CAP_SER))
		panic("no recovery (SER_P)", cap);
	local_start(cap);
	if (cap & CAP_CTL)
		msr_write(MSR_MCG_CTL, ~0ull);
	for (i = 0; i < bank_count(); i++) {
		msr_write(msr_of(i, 0), ~0ull);
		bank_clear(i);
	}
	msr_write(MSR_MCG_STATUS, 0);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" :: "r"(cr4 | CR4_MCE) : "memory");
}
