// Which library this is. The build says from which sources.
#include "c_api.h"

#if !defined(LCNN_SOURCES)
#define LCNN_SOURCES ""
#endif

int lcnn_abi() { return LCNN_ABI; }

const char* lcnn_sources() { return LCNN_SOURCES; }
