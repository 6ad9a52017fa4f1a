/* SPDX-License-Identifier: MIT */
/*
 * Real errors in real memory, by ACPI's EINJ: the firmware is told a physical
 * address, and makes the memory there bad. A wrong address would harm somebody
 * else, so it is checked over and over before, and the page is held in place.
 */
#ifndef BEZOAR_LAB_HW_EINJ_H
#define BEZOAR_LAB_HW_EINJ_H

#include <stdint.h>
#include <sys/types.h>

#define EINJ_CORRECTED	0x8u
#define EINJ_UNCORRECTED 0x10u		/* and not fatal to the machine */
#define EINJ_FATAL	0x20u		/* never injected here */

/* The kernel behind it, so that tests can be one. */
struct einj {
	const char *root;		/* before /sys and /proc: "" is the machine */
	/* Of this process's page at @page: its frame, 0 if nobody says; and how
	 * often that is mapped. */
	uint64_t (*frame)(const struct einj *e, const void *page);
	uint64_t (*mapped)(const struct einj *e, uint64_t frame);
	/* einj_keep()'s: what the page is held by, and who holds it longest. */
	int held[2], tell;
	pid_t keeper;			/* 0: there is none */
};

/* With the answers of /proc/self/pagemap and /proc/kpagecount. */
struct einj einj_at(const char *root);

/* Why errors of @type cannot be injected here, or NULL. */
const char *einj_why_not(const struct einj *e, unsigned int type);

/*
 * Start a process that holds the page which this one will make bad, and has the
 * kernel mark it (hard_offline_page) when this one has ended, whatever it has ended
 * of: else memory that is bad, and that nobody has met, would be given to another
 * program. To be called before the page is there: who has a copy of it maps it.
 *
 * Returns NULL, or why not. It ends with 1, and says so, if the page is not marked.
 */
const char *einj_keep(struct einj *e);

/*
 * Make the memory at @byte bad; what is lost is the page of 4 KiB that it is in. That
 * must be private to this process, and no part of a huge page. Nobody touches it
 * before the next access: the error is armed, not triggered.
 *
 * Returns NULL, or why nothing was injected. If the page has moved when it is too
 * late, the program is ended: nobody knows whose memory is bad then.
 */
const char *einj_inject(const struct einj *e, void *byte, unsigned int type);

#endif
