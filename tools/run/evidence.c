/* SPDX-License-Identifier: MIT */
#include "evidence.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../read.h"

#define ROOM 65536

int ended_by(const struct ending *e, int sig)
{
	return (e->code == CLD_KILLED || e->code == CLD_DUMPED) &&
	       e->status == sig;
}

int ended_like(const struct ending *e, int sig)
{
	return ended_by(e, sig) ||
	       (e->code == CLD_EXITED && e->status == 128 + sig);
}

int ended_status(const struct ending *e)
{
	return e->code == CLD_EXITED ? e->status : 128 + e->status;
}

int evidence_is_shutdown(const struct bez_record *r)
{
	switch (r->outcome) {
	case BEZ_OUTCOME_SHUTDOWN_BEGUN:
	case BEZ_OUTCOME_SHUTDOWN_LATE:
	case BEZ_OUTCOME_SHUTDOWN_HURT:
	case BEZ_OUTCOME_SHUTDOWN_BARE:
	case BEZ_OUTCOME_SHUTDOWN:
		return 1;
	default:
		return 0;
	}
}

int evidence_is_last(const struct bez_record *r)
{
	return evidence_is_shutdown(r) || r->outcome == BEZ_OUTCOME_FOREIGN ||
	       r->outcome == BEZ_OUTCOME_DEFAULT ||
	       r->outcome == BEZ_OUTCOME_NESTED;
}

int evidence_is_poison(const struct bez_record *r, int real)
{
	switch (r->cause) {
	case BEZ_CAUSE_POISON_AR:
	case BEZ_CAUSE_POISON_AO:
	case BEZ_CAUSE_MISSING:
	case BEZ_CAUSE_RECOVER:
		return 1;
	case BEZ_CAUSE_ADRERR:
		return !real && r->region != 0;
	default:
		return 0;
	}
}

int evidence_says(const struct ending *e, const struct bez_record *r, int real)
{
	if (!r || !evidence_is_poison(r, real))
		return 0;
	/* what a program survived by a handler of its own is no reason */
	return evidence_is_shutdown(r) || ended_like(e, SIGBUS);
}

int evidence_kernel_is_real(void)
{
	return !access("/proc/sys/vm/memory_failure_recovery", F_OK);
}

struct wanted {
	pid_t pid;
	uint64_t start_ticks;
	const uint8_t *boot_id;
};

static int is_wanted(const struct wanted *w, const struct bez_record *r)
{
	return r->pid == w->pid && r->start_ticks == w->start_ticks &&
	       !memcmp(r->boot_id, w->boot_id, sizeof(r->boot_id)) &&
	       evidence_is_last(r);
}

int evidence_in_file(const char *path, uint64_t from, pid_t pid,
		     uint64_t start_ticks, const uint8_t boot_id[16],
		     struct bez_record *ret_record)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	const struct wanted wanted = { pid, start_ticks, boot_id };
	unsigned char *bytes = malloc(ROOM);
	size_t len = 0, done, n;
	struct piece piece;
	int found = 0;
	ssize_t r = 1;

	while (fd >= 0 && bytes && r > 0) {
		r = pread(fd, bytes + len, ROOM - len, (off_t)from);
		if (r > 0) {
			len += (size_t)r;
			from += (size_t)r;
		}
		for (done = 0; (n = piece_first(bytes + done, len - done,
						r <= 0, &piece)); done += n) {
			if (piece.kind != PIECE_RECORD ||
			    !is_wanted(&wanted, &piece.record))
				continue;
			*ret_record = piece.record;
			found = 1;
		}
		memmove(bytes, bytes + done, len - done);
		len -= done;
	}
	free(bytes);
	if (fd >= 0)
		close(fd);
	return found;
}
