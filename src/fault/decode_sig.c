/* SPDX-License-Identifier: MIT */
#include "core/core.h"
#include "fault/fault.h"

#include <ucontext.h>

void bz_decode(const siginfo_t *info, struct bz_fault *ret_fault)
{
	struct bz_fault *f = ret_fault;

	f->si_code = info->si_code;
	f->addr = 0;
	f->lsb = 0;
	f->nowhere = 0;
	f->ip = 0;
	f->sp = 0;
	f->alt = 0;
	f->alt_len = 0;
	f->context = NULL;
	f->fix = 0;
	switch (info->si_code) {
	case BUS_MCEERR_AR:
		f->cause = BEZ_CAUSE_POISON_AR;
		break;
	case BUS_MCEERR_AO:
		f->cause = BEZ_CAUSE_POISON_AO;
		break;
	case BUS_ADRERR:
		f->cause = BEZ_CAUSE_ADRERR;
		f->addr = (uint64_t)info->si_addr;
		return;
	case SI_KERNEL:
		/* a machine check whose address the kernel could not use; the
		 * siginfo has no address at all then */
		f->cause = BEZ_CAUSE_MISSING;
		return;
	case BUS_ADRALN:
	case BUS_OBJERR:
		f->cause = BEZ_CAUSE_SENT;
		return;
	default:
		/* kill(2), sigqueue(3), tgkill(2), a timer: nothing is lost */
		f->cause = BEZ_CAUSE_SENT;
		return;
	}

	f->addr = (uint64_t)info->si_addr;
	f->lsb = (uint8_t)info->si_addr_lsb;
	/* KVM of Linux 6.1 and older says an address of the kernel's (KVM_HVA_ERR_BAD) of
	 * memory whose slot was taken away while the guest met it */
	f->nowhere = (int64_t)f->addr < 0;
	/* Linux 5.10 says AR with NULL where later ones say SI_KERNEL */
	if (!f->addr || f->nowhere) {
		f->addr = 0;
		f->cause = f->cause == BEZ_CAUSE_POISON_AR ?
			   BEZ_CAUSE_MISSING : BEZ_CAUSE_SENT;
		f->lsb = 0;
	}
}

void bz_decode_segv(const siginfo_t *info, struct bz_fault *ret_fault)
{
	struct bz_fault *f = ret_fault;

	f->si_code = info->si_code;
	f->addr = 0;
	f->lsb = 0;
	f->nowhere = 0;
	f->ip = 0;
	f->sp = 0;
	f->alt = 0;
	f->alt_len = 0;
	f->context = NULL;
	f->fix = 0;
	/* codes of the kernel are positive; sigaction(2) */
	f->cause = info->si_code > 0 ? BEZ_CAUSE_SEGV : BEZ_CAUSE_SENT;
	if (info->si_code > 0 && info->si_code != SI_KERNEL)
		f->addr = (uint64_t)info->si_addr;
}

void bz_decode_context(const void *context, struct bz_fault *f)
{
	const ucontext_t *uc = context;

	f->context = context;
#if defined(__x86_64__)
	f->ip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	f->sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
#else
	f->ip = uc->uc_mcontext.pc;
	f->sp = uc->uc_mcontext.sp;
#endif
	if (!((uint32_t)uc->uc_stack.ss_flags & SS_DISABLE)) {
		f->alt = (uint64_t)uc->uc_stack.ss_sp;
		f->alt_len = uc->uc_stack.ss_size;
	}
}

/*
 * The page of the address, of the size that the memory has. On base pages an
 * lsb of 0 says nothing (BUS_ADRERR), the page's own is exact, and a larger one
 * is a huge page that could not be split, of which just the page at the address
 * is bad while the others are mapped and good. In a hugetlb page the address
 * may be anywhere (6.1 reports its start), and KVM always says 12.
 */
struct bz_extent bz_extent_of(const struct bz_fault *fault,
			      struct bz_memory memory)
{
	uint64_t width = memory.shift > bz_core.page_shift ?
			 (uint64_t)1 << memory.shift : bz_core.page;

	return (struct bz_extent){
		.start = fault->addr & -width,
		.width = width,
	};
}
