/* SPDX-License-Identifier: MIT */
/*
 * What the kernel's headers have since and Debian 12's (Linux 6.1) have not.
 */
#ifndef BEZOAR_INJECT_UAPI_H
#define BEZOAR_INJECT_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>

#ifndef UFFDIO_POISON			/* Linux 6.6 */
#define UFFD_FEATURE_POISON		(1 << 14)
#define _UFFDIO_POISON			0x08

struct uffdio_poison {
	struct uffdio_range range;
#define UFFDIO_POISON_MODE_DONTWAKE	((__u64)1 << 0)
	__u64 mode;
	__s64 updated;
};

#define UFFDIO_POISON	_IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)
#endif

#endif
