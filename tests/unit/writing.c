/* SPDX-License-Identifier: MIT */
#include "writing.h"

#include <sys/mman.h>
#include <sys/stat.h>

struct bz_mm *mm;

const struct bz_fault fault = {
	.taken_ns = 0x0102030405060708, .addr = 0x1112131415163718,
	.cause = BEZ_CAUSE_ADRERR, .si_code = 2, .ip = 0x2122232425262728,
};
const struct bz_result result = {
	.outcome = BEZ_OUTCOME_DEFAULT, .why = BEZ_OUTCOME_SOURCE_DIGEST,
	.action = BEZ_ACTION_DEFAULT, .source = BEZ_SOURCE_FILE,
	.cause = BEZ_CAUSE_CUT, .frame = 0x3132333435,
};
const struct bz_hit hit = {
	.id = 0x4142434445464748, .start = 0x1112131415160000,
	.name = "a name of thirty-one bytes here",
};

void write_one(uint64_t seq)
{
	bz_record_write(mm, &mm->walk[0], &fault, 4096, &hit, &result, seq);
}

void write_left(uint64_t seq)
{
	struct bz_result left = result;

	left.outcome = BEZ_OUTCOME_LEFT;
	bz_record_write(mm, &mm->walk[0], &fault, 4096, &hit, &left, seq);
}

void open_to(int fd, int text, uint32_t rate)
{
	struct bez_options o = BEZ_OPTIONS_INIT;

	mm = unit_mm();
	atomic_store(&mm->walk[0].owner, 0x51525354);
	mm->walk[0].depth = 3;
	o.record_fd = fd;
	o.record_text_fd = text;
	o.record_rate = rate;
	CHECK_EQ(bz_record_open(mm, &o), 0);
}

int memory_file(void)
{
	int fd = memfd_create("records", MFD_CLOEXEC);

	CHECK(fd > 0);
	return fd;
}

off_t length(int fd)
{
	struct stat st;

	CHECK_EQ(fstat(fd, &st), 0);
	return st.st_size;
}
