/* Lets Debian 12's OpenSMTPD 6.8 shake hands.
 *
 * It keeps private keys in a process of their own: it marks the RSA key that it gets from EVP_PKEY_get1_RSA, and its RSA method
 * finds the mark. With OpenSSL 3 that key is only a copy of what the library uses, so the mark is lost and every handshake
 * fails ("missing private key"). Here the copy is put back, and becomes what is used. Later versions do so themselves.
 *
 * Built and loaded by tests/clients/install.sh and tests/src/world/peers/opensmtpd.rs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

void *EVP_PKEY_get1_RSA(void *key);

void *EVP_PKEY_get1_RSA(void *key) {
  void *(*get)(void *) = (void *(*)(void *))dlsym(RTLD_NEXT, "EVP_PKEY_get1_RSA");
  int (*set)(void *, void *) = (int (*)(void *, void *))dlsym(RTLD_NEXT, "EVP_PKEY_set1_RSA");
  void *rsa = get ? get(key) : NULL;
  if (rsa && set) set(key, rsa);
  return rsa;
}
