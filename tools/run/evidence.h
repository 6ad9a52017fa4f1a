/* SPDX-License-Identifier: MIT */
/*
 * Died of hardware, or of something else? Pure: by how the process has ended and
 * by the records that it has left. For bezoar run, and for bezoar report afterwards.
 */
#ifndef BEZOAR_TOOLS_RUN_EVIDENCE_H
#define BEZOAR_TOOLS_RUN_EVIDENCE_H

#include <bezoar/record.h>
#include <sys/types.h>

#define STATUS_BUS	(128 + 7)	/* what a shell says of SIGBUS */

/* How a child has ended: si_code and si_status of waitid(2). */
struct ending {
	int code, status;
};

/* It died of @sig, or (@sig SIGBUS) says like a shell that a child of its has. */
int ended_by(const struct ending *e, int sig);
int ended_like(const struct ending *e, int sig);
/* What a shell would exit with. */
int ended_status(const struct ending *e);

/* Is this the last that a process has to say, if nobody helps it? */
int evidence_is_last(const struct bez_record *r);
/* Has it come to an orderly end by the library? */
int evidence_is_shutdown(const struct bez_record *r);
/* Is what it tells of a loss of memory? @real: this kernel tells poison from
 * everything else. On others only emulation makes any, and it looks like a file's
 * trouble: there, what was in a region and turned out to be none of a file's. */
int evidence_is_poison(const struct bez_record *r, int real);

/* Does the last such record of the process that ended so make it a death of lost
 * memory? @r: NULL: it has none. */
int evidence_says(const struct ending *e, const struct bez_record *r, int real);

/* Does this kernel tell? */
int evidence_kernel_is_real(void);

/*
 * In a file that @pid writes its records to (bez_options.record_fd), behind byte
 * @from: its last that is evidence_is_last(), of the process that began at
 * @start_ticks of boot @boot_id. Returns whether there is one.
 */
int evidence_in_file(const char *path, uint64_t from, pid_t pid,
		     uint64_t start_ticks, const uint8_t boot_id[16],
		     struct bez_record *ret_record);

#endif
