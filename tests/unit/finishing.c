/* SPDX-License-Identifier: MIT */
#include "finishing.h"

#include <unistd.h>

int file = -1;

void begin_end(uint64_t patience)
{
	listen_there();
	file = memory_file();
	open_house(file, 0);
	bz_core.shutdown_ns = patience;
	bz_recorder.last.begun_ns = patience;
	bz_recorder.last.end_ns = patience;
}

void write_end(uint32_t outcome)
{
	struct bz_result r = { .outcome = (uint16_t)outcome,
			       .action = BEZ_ACTION_SHUTDOWN };

	bz_record_write(mm, &mm->walk[0], &fault, 4096, &hit, &r, outcome);
}

void is_written(int i, uint32_t outcome)
{
	struct bez_record r;

	CHECK_EQ(pread(file, &r, sizeof(r), (off_t)(i * sizeof(r))), sizeof(r));
	CHECK_EQ(r.outcome, outcome);
	CHECK_EQ(r.digest, bez_digest(&r, sizeof(r) - 8));
}

void both_written(void)
{
	CHECK_EQ(length(file), 2 * BEZ_RECORD_BYTES);
	is_written(0, BEZ_OUTCOME_SHUTDOWN_BEGUN);
	is_written(1, BEZ_OUTCOME_SHUTDOWN);
}
