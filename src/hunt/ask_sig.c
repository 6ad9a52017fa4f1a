/* SPDX-License-Identifier: MIT */
/*
 * The answer of a thread that is asked for its registers: the signal's handler. It
 * runs on top of anything, with all signals blocked but those of a fault, touches
 * no errno, and writes to nothing but the slot that it was asked to fill.
 */
#include <string.h>
#include <ucontext.h>

#include "hunt/hunt.h"
#include "sys/sys.h"

_Atomic(struct bz_asks *) bz_asks;

#if defined(__x86_64__)

#define MAGIC_AT	464u		/* of struct _fpx_sw_bytes */
#define MAGIC		0x46505853u	/* FP_XSTATE_MAGIC1 */
#define HEADER_AT	512u		/* XSTATE_BV; Intel SDM, XSAVE area */

static void general(struct bz_asked *slot, const ucontext_t *uc)
{
	uint32_t i;

	for (i = 0; i <= REG_RIP; i++)
		slot->general[i] = (uint64_t)uc->uc_mcontext.gregs[i];
	slot->generals = i;
	slot->sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
}

static void vectors(const struct bz_asks *asks, struct bz_asked *slot,
		    const ucontext_t *uc)
{
	const char *area = (const char *)uc->uc_mcontext.fpregs;
	uint64_t has = 2;		/* SSE, without an extended state */
	uint32_t i, magic, bytes = 0;

	slot->vectors = 0;
	if (!area)
		return;
	memcpy(&magic, area + MAGIC_AT, sizeof(magic));
	if (magic == MAGIC)
		memcpy(&has, area + HEADER_AT, sizeof(has));
	for (i = 0; i < sizeof(asks->part) / sizeof(asks->part[0]); i++) {
		if (!(has >> asks->part[i].bit & 1) ||
		    bytes + asks->part[i].bytes > sizeof(slot->vector))
			continue;
		memcpy((char *)slot->vector + bytes,
		       area + asks->part[i].offset, asks->part[i].bytes);
		bytes += asks->part[i].bytes;
	}
	slot->vectors = bytes / sizeof(slot->vector[0]);
}

#elif defined(__aarch64__)

#define FPSIMD		0x46508001u	/* FPSIMD_MAGIC */
#define VREGS_AT	16u		/* of struct fpsimd_context */
#define VREGS		512u

static void general(struct bz_asked *slot, const ucontext_t *uc)
{
	uint32_t i;

	for (i = 0; i < 31; i++)
		slot->general[i] = uc->uc_mcontext.regs[i];
	slot->general[i++] = uc->uc_mcontext.sp;
	slot->general[i++] = uc->uc_mcontext.pc;
	slot->generals = i;
	slot->sp = uc->uc_mcontext.sp;
}

static void vectors(const struct bz_asks *asks, struct bz_asked *slot,
		    const ucontext_t *uc)
{
	const char *at = (const char *)uc->uc_mcontext.__reserved;
	const char *end = at + sizeof(uc->uc_mcontext.__reserved);
	uint32_t head[2];		/* magic, bytes */

	(void)asks;
	slot->vectors = 0;
	for (; at + VREGS_AT + VREGS <= end; at += head[1]) {
		memcpy(head, at, sizeof(head));
		if (head[0] == FPSIMD) {
			memcpy(slot->vector, at + VREGS_AT, VREGS);
			slot->vectors = VREGS / sizeof(slot->vector[0]);
		}
		if (head[0] == FPSIMD || head[1] < sizeof(head))
			break;
	}
}

#endif

void bz_on_ask(int sig, siginfo_t *info, void *context)
{
	struct bz_asks *asks = atomic_load(&bz_asks);
	uint64_t ask = (uint64_t)info->si_value.sival_ptr, state;
	struct bz_asked *slot;

	(void)sig;
	/* by whoever else: it is nobody's signal but ours */
	if (!asks || info->si_code != SI_QUEUE)
		return;
	slot = &asks->slot[ask % BZ_ASKED];
	state = ask / BZ_ASKED << 2 | BZ_ASK_ASKED;
	if (!atomic_compare_exchange_strong(&slot->state, &state,
					    ask / BZ_ASKED << 2 |
						    BZ_ASK_WRITING))
		return;
	general(slot, context);
	vectors(asks, slot, context);
	/* release: pairs with answered() in ask.c */
	atomic_store_explicit(&slot->state,
			      ask / BZ_ASKED << 2 | BZ_ASK_DONE,
			      memory_order_release);
	atomic_fetch_add(&asks->answers, 1);
	bz_futex_wake(&asks->answers);
}
