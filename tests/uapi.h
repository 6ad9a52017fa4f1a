/* SPDX-License-Identifier: MIT */
/* What is newer than the headers of Debian 12 (Linux 6.1), or left out there. */
#ifndef BEZOAR_TESTS_UAPI_H
#define BEZOAR_TESTS_UAPI_H

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>

#ifndef EHWPOISON
#define EHWPOISON 133
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22		/* Linux 5.14 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23		/* Linux 5.14 */
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24		/* Linux 5.18 */
#endif
#ifndef UFFDIO_POISON			/* Linux 6.6 */
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#define UFFD_FEATURE_POISON (1 << 14)
#endif

#endif
