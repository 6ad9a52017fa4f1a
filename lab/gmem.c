/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "gmem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tap.h"

/* linux/kvm.h, since Linux 6.8 and 6.18. */
struct gmem {
	uint64_t size, flags, reserved[6];
};
#define CREATE_GUEST_MEMFD	_IOWR(KVMIO, 0xd4, struct gmem)
#define GUEST_MEMFD_MMAP	1u
#define GUEST_MEMFD_SHARED	2u
#define CAP_GUEST_MEMFD_FLAGS	244

int gmem_open(size_t len)
{
	struct gmem create = {
		.size = len, .flags = GUEST_MEMFD_MMAP | GUEST_MEMFD_SHARED,
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, fd;

	if (kvm < 0)
		tap_skip("why-not: no KVM here: %s", strerror(errno));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	CHECKF(vm >= 0, "KVM_CREATE_VM: %s", strerror(errno));
	if ((ioctl(vm, KVM_CHECK_EXTENSION, CAP_GUEST_MEMFD_FLAGS) & 3) != 3)
		tap_skip("why-not: no guest_memfd that can be mapped before "
			 "Linux 6.18");
	fd = ioctl(vm, CREATE_GUEST_MEMFD, &create);
	CHECKF(fd >= 0, "KVM_CREATE_GUEST_MEMFD: %s", strerror(errno));
	close(kvm);
	close(vm);
	return fd;
}
