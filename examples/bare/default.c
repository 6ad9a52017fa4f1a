/* SPDX-License-Identifier: MIT */
/* Default, by hand: do nothing, and the lost page ends the program. */
#include "poison.h"

int main(void)
{
	size_t size = sysconf(_SC_PAGESIZE);
	char *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		return perror("mmap"), 1;
	memset(data, 'x', size);
	poison(data, size);
	printf("touching the lost page at %p\n", (void *)data);
	fflush(stdout);
	data[0] = 'y';
	puts("the page was not lost");
	return 0;
}
