/* SPDX-License-Identifier: MIT */
#include "inject.h"

#include <errno.h>

const struct bzi_backend *bzi_backend_of(uint32_t backend)
{
	switch (backend) {
	case BEZ_INJECT_UFFD:
		return &bzi_uffd;
	case BEZ_INJECT_MADV:
		return &bzi_madv;
	case BEZ_INJECT_TRUNCATE:
		return &bzi_file;
	case BEZ_INJECT_HWPOISON_INJECT:
		return &bzi_hwpoison;
	default:
		return NULL;
	}
}

const char BZI_PUBLIC *bez_inject_backend_name(uint32_t backend)
{
	const struct bzi_backend *b = bzi_backend_of(backend);

	if (backend == BEZ_INJECT_AUTO)
		return "auto";
	return b ? b->name : "unknown";
}

const char BZI_PUBLIC *bez_inject_fidelity_name(uint32_t fidelity)
{
	switch (fidelity) {
	case BEZ_INJECT_FIDELITY_NONE:
		return "none";
	case BEZ_INJECT_FIDELITY_EMULATED:
		return "emulated";
	case BEZ_INJECT_FIDELITY_KERNEL:
		return "kernel";
	case BEZ_INJECT_FIDELITY_HARDWARE:
		return "hardware";
	default:
		return "unknown";
	}
}

uint32_t BZI_PUBLIC bez_inject_fidelity(uint32_t backend)
{
	const struct bzi_backend *b = bzi_backend_of(backend);

	return b ? b->fidelity : (uint32_t)BEZ_INJECT_FIDELITY_NONE;
}

static const char *why_frames(int r, const char *allowed)
{
	if (!bzi_memory_failure())
		return "this kernel is built without CONFIG_MEMORY_FAILURE; "
		       "use BEZ_INJECT_UFFD";
	if (bzi_would_panic())
		return "vm.memory_failure_recovery is 0, so poison would panic "
		       "the machine; set it to 1";
	if (r == -EOPNOTSUPP)
		return "/sys/kernel/debug/hwpoison is not there; mount debugfs "
		       "and load the module hwpoison_inject";
	return allowed;
}

static const char *why_uffd(int r)
{
	if (r == -EOPNOTSUPP)
		return "this kernel has no UFFDIO_POISON; it came with Linux "
		       "6.6 and CONFIG_USERFAULTFD";
	return "userfaultfd(2) is filtered here (seccomp); allow it, or give "
	       "access to /dev/userfaultfd";
}

const char BZI_PUBLIC *bez_inject_why(uint32_t backend)
{
	int r = bzi_available(backend);

	if (!r)
		return "usable";
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return "memory or descriptors have run out; free some and ask "
		       "again";
	switch (backend) {
	case BEZ_INJECT_AUTO:
	case BEZ_INJECT_UFFD:
		return why_uffd(r);
	case BEZ_INJECT_MADV:
		return why_frames(r, "MADV_HWPOISON needs CAP_SYS_ADMIN in the "
				     "first user namespace; run as root");
	case BEZ_INJECT_HWPOISON_INJECT:
		return why_frames(r, "corrupt-pfn in debugfs may not be "
				     "written; run as root, without kernel "
				     "lockdown");
	default:
		return "no such back end; see enum bez_inject_backend";
	}
}
