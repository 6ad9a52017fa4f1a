/* SPDX-License-Identifier: MIT */
/*
 * Real poison for the lab's own tests, which use no bezoar: what they find is
 * the contract of the kernel that bezoar rests on.
 *
 * Nothing here undoes a poison: the guest it is made in is thrown away.
 */
#ifndef BEZOAR_LAB_POISON_H
#define BEZOAR_LAB_POISON_H

#include <stddef.h>
#include <stdint.h>

#define PAGE ((size_t)4096)

#define PAGEMAP_PRESENT	(1ull << 63)
#define PAGEMAP_SWAP	(1ull << 62)	/* a hwpoison entry shows as swap */
#define PAGEMAP_PFN	((1ull << 55) - 1)

/* What SIGBUS said last. The handler runs in whatever thread faults. */
struct sigbus {
	_Atomic unsigned int count;
	int code;
	int width_bits;		/* si_addr_lsb */
	unsigned char *addr;
};
extern struct sigbus sigbus;

/*
 * Take SIGBUS from here on: note it in sigbus, then leave a running peek()
 * or poke(), or return to the instruction.
 */
void take_sigbus(void);

/* Touch a byte. Returns 0, or -1 if SIGBUS came instead. */
int peek(unsigned char *at, unsigned char *ret_value);
int poke(unsigned char *at, unsigned char value);

/* Call @run; 0, or -1 if SIGBUS came instead of its end. */
int attempt(void (*run)(void *), void *data);

/* @pages of anonymous memory; page i is full of the byte fill_of(i). */
unsigned char *anon(size_t pages, int flags);
unsigned char fill_of(size_t page);
/* Is the page at @p full of @value? Touches every byte of it. */
int page_is(const unsigned char *p, unsigned char value);

enum { HUGE_PAGES = 512 };

/* A transparent huge page, filled in the same way. */
unsigned char *anon_huge(void);
/* Is the memory at @p, 2 MiB, one huge page? By the kernel's own words. */
int is_huge(const unsigned char *p);

/* Is this Linux @major.@minor or later? */
int linux_is(unsigned int major, unsigned int minor);

/*
 * Poison the page at @p by MADV_HWPOISON and check what the kernel says to
 * the caller at once: from Linux 6.11 on BUS_MCEERR_AR, the page's address,
 * 4 KiB; before, nothing. sigbus.count is left as it was.
 */
void poison(unsigned char *p);

/*
 * The same, and nobody here is told: a process calls that shares our memory, and
 * nothing else, so that no page of it is copied for that. 0 or a negative errno.
 */
int poison_untold(void *at);

/* SIGBUS says that 4 KiB around exactly @at are gone. */
void check_ar(const unsigned char *at);

uint64_t pagemap(const void *p);
/* Write @pfn to a file of hwpoison-inject; skip the case without it. 0 or a
 * negative errno. */
int inject_pfn(const char *file, uint64_t pfn);
/* Give a frame back that nobody has any more; the kernel may have done so. */
void unpoison_pfn(uint64_t pfn);
/* Has the kernel marked that frame as bad? */
int is_bad_pfn(uint64_t pfn);
/* Sectors on the list of bad blocks of the persistent memory that has files: it grows
 * some time after a machine check. Wait until it has. */
long bad_sectors(void);
void wait_bad_sectors(long before);
/* HardwareCorrupted in /proc/meminfo, in KiB. */
long corrupted_kib(void);
/* How many mappings this process has. */
int count_mappings(void);

/* A userfaultfd, and one page of memory registered for missing faults. */
int uffd_open(void);
void uffd_register(int fd, void *page);
void uffd_unregister(int fd, void *page);
/* Both return 0 or a negative errno. */
int uffd_copy(int fd, void *page, const void *from);
int uffd_poison(int fd, void *page);

#endif
