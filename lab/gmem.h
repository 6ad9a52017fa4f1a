/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_LAB_GMEM_H
#define BEZOAR_LAB_GMEM_H

#include <stddef.h>

/* Memory of a guest's that can be mapped here, too: guest_memfd, of a machine
 * that is never run. Skips the case where there is none. */
int gmem_open(size_t len);

#endif
