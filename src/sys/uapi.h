/* SPDX-License-Identifier: MIT */
/*
 * Kernel constants that are newer than the headers of Debian 12 (Linux 6.1),
 * or that its libc headers leave out. The version is the one that brought it.
 */
#ifndef BEZOAR_SYS_UAPI_H
#define BEZOAR_SYS_UAPI_H

#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>

#ifndef EHWPOISON
#define EHWPOISON 133
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22		/* 5.14 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23		/* 5.14 */
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24		/* 5.18 */
#endif

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1		/* 5.11 */
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00) /* 6.1 */
#endif

#ifndef UFFDIO_POISON			/* 6.6 */
struct uffdio_poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)	/* 6.6 */
#endif

#ifndef UFFD_FEATURE_SIGBUS
#define UFFD_FEATURE_SIGBUS (1 << 7)	/* 4.14 */
#endif

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)	/* 4.7 */
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41		/* 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4		/* 5.7 */
#endif

#ifndef PAGEMAP_SCAN			/* 6.7; linux/fs.h */
struct page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};
struct pm_scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#endif

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8u		/* 6.3 */
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000	/* 4.17 */
#endif

#endif
