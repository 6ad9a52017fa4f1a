/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "fake_kvm.h"

#include "tap.h"
#include "vmm/sys.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define VAL	(1ull << 63)
#define OVER	(1ull << 62)
#define UC	(1ull << 61)
#define PCC	(1ull << 57)
#define S	(1ull << 56)
#define AR	(1ull << 55)
#define MCIP	4
#define CTL_P	(1ull << 8)
#define CMCI_P	(1ull << 10)
#define CR4_MCE	(1ull << 6)

struct fake_kvm fake;

void fake_reset(void)
{
	int i;

	memset(&fake, 0, sizeof(fake));
	fake.has_mce = FAKE_BANKS;
	fake.supported = CTL_P | CMCI_P | 1ull << 24 | 1ull << 27;
	fake.linux_major = 6;
	fake.vendor = "GenuineIntel";
	fake.signature = 0x306c3;
	fake.cr4 = CR4_MCE;
	fake.mcg_ctl = ~0ull;
	fake.last_bank = -1;
	for (i = 0; i < FAKE_BANKS; i++)
		fake.ctl[i] = ~0ull;
}

void *fake_pages(size_t count)
{
	void *at = mmap(NULL, count * BZV_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

unsigned char *fake_machine(const struct bez_vm_options *o, uint64_t gpa, size_t pages,
			    struct bez_vm **ret_vm)
{
	unsigned char *mem = fake_pages(pages);

	madvise(mem, pages * BZV_PAGE, MADV_NOHUGEPAGE);
	memset(mem, 1, pages * BZV_PAGE);
	CHECK_EQ(bez_start(NULL), 0);
	CHECK_EQ(bez_vm_create(o, ret_vm), 0);
	CHECK_EQ(bez_vm_map(*ret_vm, gpa, pages * BZV_PAGE, mem, 0, NULL), 0);
	return mem;
}

/* Is MCG_STATUS this vCPU's? */
static int is_of(int fd)
{
	return fd == FAKE_VCPU || !fake.others_serve;
}

static long set_mce(int fd, const struct kvm_x86_mce *mce)
{
	uint64_t *status;

	fake.calls++;
	if (mce->bank >= (uint8_t)fake.mcg_cap || !(mce->status & VAL))
		return -EINVAL;
	status = &fake.status[mce->bank];
	fake.last_bank = mce->bank;
	if (fake.linux_major >= 6 && !mce->mcg_status &&
	    (mce->status & (VAL | UC)) == (VAL | UC) &&
	    !(mce->status & (PCC | S | AR))) {	/* is_ucna() */
		fake.over += (*status & VAL) != 0;
		*status = mce->status;
		fake.addr[mce->bank] = mce->addr;
		fake.misc[mce->bank] = mce->misc;
		/* kvm_vcpu_x86_set_ucna() stores this, too */
		fake.cleared += (fake.mcg_status & MCIP) != 0;
		fake.mcg_status = mce->mcg_status;
		fake.interrupts += (fake.mcg_cap & CMCI_P) != 0;
		return 0;
	}
	if ((mce->status & UC) && (fake.mcg_cap & CTL_P) &&
	    fake.mcg_ctl != ~0ull)
		return fake.dropped++, 0;
	if ((mce->status & UC) && fake.ctl[mce->bank] != ~0ull)
		return fake.dropped++, 0;
	if (mce->status & UC) {
		if ((is_of(fd) && (fake.mcg_status & MCIP)) ||
		    !(fake.cr4 & CR4_MCE))
			return fake.dead++, 0;
		fake.over += (*status & VAL) != 0;
		*status = mce->status;
		fake.addr[mce->bank] = mce->addr;
		fake.misc[mce->bank] = mce->misc;
		if (is_of(fd))
			fake.mcg_status = mce->mcg_status;
		fake.raised++;
		fake.collided += fake.injected || fake.interrupt || fake.nmi;
	} else if (!(*status & VAL) || !(*status & UC)) {
		fake.over += (*status & VAL) != 0;
		*status = mce->status;
		fake.addr[mce->bank] = mce->addr;
		fake.misc[mce->bank] = mce->misc;
	} else {
		*status |= OVER;
		fake.over++;
	}
	return 0;
}

static int get_msr(int fd, struct kvm_msr_entry *e)
{
	uint32_t bank = (e->index - 0x400) / 4;

	switch (e->index) {
	case 0x179:
		e->data = fake.mcg_cap;
		return 1;
	case 0x17a:
		e->data = is_of(fd) ? fake.mcg_status : 0;
		return 1;
	case 0x17b:
		e->data = fake.mcg_ctl;
		return (fake.mcg_cap & CTL_P) != 0;
	case 0x4d0:
		e->data = fake.mcg_ext_ctl;
		return (fake.mcg_cap & 1ull << 27) != 0;
	default:
		break;
	}
	if (e->index < 0x400 || bank >= (uint8_t)fake.mcg_cap)
		return 0;
	e->data = (e->index & 3) == 0 ? fake.ctl[bank] :
		  (e->index & 3) == 1 ? fake.status[bank] :
		  (e->index & 3) == 2 ? fake.addr[bank] : fake.misc[bank];
	return 1;
}

/* A bank's status, and that to nothing: no more is wanted. */
static int set_msr(const struct kvm_msr_entry *e)
{
	uint32_t bank = (e->index - 0x400) / 4;

	if (e->index < 0x400 || (e->index & 3) != 1 ||
	    bank >= (uint8_t)fake.mcg_cap || e->data)
		return 0;
	fake.status[bank] = 0;
	return 1;
}

static long cpuid(struct kvm_cpuid2 *all)
{
	if (!fake.vendor) {
		all->nent = 0;
		return 0;
	}
	memset(all->entries, 0, 2 * sizeof(all->entries[0]));
	all->nent = 2;
	memcpy(&all->entries[0].ebx, fake.vendor, 4);
	memcpy(&all->entries[0].edx, fake.vendor + 4, 4);
	memcpy(&all->entries[0].ecx, fake.vendor + 8, 4);
	all->entries[1].function = 1;
	all->entries[1].eax = fake.signature;
	return 0;
}

static void get_sregs(struct kvm_sregs *sregs)
{
	memset(sregs, 0, sizeof(*sregs));
	sregs->cr4 = fake.cr4;
	sregs->cs.base = fake.cs_base;
	sregs->cs.l = fake.is_64 != 0;
	sregs->efer = fake.is_64 ? 1ull << 10 : 0;
}

static void get_regs(struct kvm_regs *regs)
{
	memset(regs, 0, sizeof(*regs));
	regs->rip = fake.rip;
}

static void get_events(struct kvm_vcpu_events *events)
{
	memset(events, 0, sizeof(*events));
	events->exception.injected = fake.injected == 1;
	events->exception.pending = fake.injected == 2;
	events->exception.nr = (uint8_t)fake.exception;
	events->interrupt.injected = fake.interrupt != 0;
	events->nmi.injected = fake.nmi != 0;
}

long bzv_sys_ioctl(int fd, unsigned long request, void *arg)
{
	struct kvm_msrs *msrs = arg;
	struct kvm_translation *tr = arg;
	uint32_t i;

	if (request == fake.fails && (!fake.fails_fd || fake.fails_fd == fd))
		return -fake.err;
	if (fd != FAKE_KVM && fd != FAKE_VM &&
	    (fd < FAKE_VCPU || fd >= FAKE_VCPU + FAKE_VCPUS))
		return -EBADF;
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return (long)arg == KVM_CAP_MCE ? fake.has_mce :
		       (long)arg == KVM_CAP_SYNC_REGS ? fake.has_sync : 0;
	case KVM_X86_GET_MCE_CAP_SUPPORTED:
		*(uint64_t *)arg = fake.supported;
		return 0;
	case KVM_X86_SETUP_MCE:
		fake.mcg_cap = *(uint64_t *)arg;
		if (!(uint8_t)fake.mcg_cap || (uint8_t)fake.mcg_cap > 32 ||
		    (fake.mcg_cap & ~(fake.supported | 0xff | 0xff0000)))
			return -EINVAL;
		if (fake.on_amd)
			fake.mcg_cap &= 0x1ff;
		return 0;
	case KVM_X86_SET_MCE:
		return set_mce(fd, arg);
	case KVM_GET_CPUID2:
		return cpuid(arg);
	case KVM_GET_SREGS:
		get_sregs(arg);
		return 0;
	case KVM_GET_REGS:
		get_regs(arg);
		return 0;
	case KVM_TRANSLATE:
		tr->valid = tr->linear_address == fake.linear && fake.at;
		tr->physical_address = tr->valid ? fake.at : ~0ull;
		return 0;
	case KVM_GET_VCPU_EVENTS:
		get_events(arg);
		return 0;
	case KVM_GET_MP_STATE:
		((struct kvm_mp_state *)arg)->mp_state =
			fd == FAKE_VCPU ? KVM_MP_STATE_RUNNABLE :
					  fake.others_state;
		return 0;
	case KVM_SET_MSRS:
		for (i = 0; i < msrs->nmsrs; i++)
			if (!set_msr(&msrs->entries[i]))
				break;
		return i;
	case KVM_GET_MSRS:
		for (i = 0; i < msrs->nmsrs; i++)
			if (!get_msr(fd, &msrs->entries[i]))
				break;
		return i;
	default:
		return -ENOTTY;
	}
}

long bzv_sys_run(int vcpu_fd)
{
	struct kvm_run *run = fake.run;

	(void)vcpu_fd;
	fake.runs++;
	if (fake.fails == KVM_RUN)
		return -fake.err;
	if (run) {
		fake.entered += !run->immediate_exit;
		if (fake.in_run)
			fake.in_run(run);
		if (run->kvm_valid_regs & KVM_SYNC_X86_REGS)
			get_regs(&run->s.regs.regs);
		if (run->kvm_valid_regs & KVM_SYNC_X86_SREGS)
			get_sregs(&run->s.regs.sregs);
		if (run->kvm_valid_regs & KVM_SYNC_X86_EVENTS)
			get_events(&run->s.regs.events);
	}
	return -EINTR;
}

int bzv_sys_sleeps_outside(int32_t tid)
{
	(void)tid;
	return 0;
}

int bzv_sys_linux(void)
{
	return fake.linux_major;
}

int fake_meet(struct bez_vm *vm, int fd, void *page)
{
	static const unsigned char code[] = { 0x0f, 0x05, 0x90 };
	struct bez_lost lost = {
		.addr = page, .width = 4096,
		.touched = (char *)page + 8,
	};
	ucontext_t uc;

	memset(&uc, 0, sizeof(uc));
	uc.uc_mcontext.gregs[REG_RIP] = (greg_t)(code + 2);
	uc.uc_mcontext.gregs[REG_RSI] = KVM_RUN;
	uc.uc_mcontext.gregs[REG_RDI] = fd;
	uc.uc_mcontext.gregs[REG_RAX] = -EINTR;
	return bzv_relay(&lost, &uc, vm);
}
