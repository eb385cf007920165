// The four memory functions that clang may call on its own in freestanding code. Linked into every x86 module, so that it
// needs no symbol from outside.
#pragma once

#include "x86/simd.h"

extern "C" {
__attribute__((visibility("hidden"))) void* memcpy(void* dst, const void* src, unsigned long n) {
  void* result = dst;
  asm volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
  return result;
}
__attribute__((visibility("hidden"))) void* memset(void* dst, int value, unsigned long n) {
  void* result = dst;
  asm volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(value) : "memory");
  return result;
}
__attribute__((visibility("hidden"))) void* memmove(void* dst, const void* src, unsigned long n) {
  if (dst <= src || static_cast<char*>(dst) >= static_cast<const char*>(src) + n) return memcpy(dst, src, n);
  char* d = static_cast<char*>(dst) + n - 1;
  const char* s = static_cast<const char*>(src) + n - 1;
  asm volatile("std; rep movsb; cld" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
  return dst;
}
__attribute__((visibility("hidden"))) int memcmp(const void* a, const void* b, unsigned long n) {
  const unsigned char *x = static_cast<const unsigned char*>(a), *y = static_cast<const unsigned char*>(b);
  for (unsigned long i = 0; i < n; ++i)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}
}
