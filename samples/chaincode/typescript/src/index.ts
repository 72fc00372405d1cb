// What fabric-chaincode-node reads: the contracts of this package.
import { AssetContract } from './assetContract';

export { AssetContract } from './assetContract';

export const contracts = [AssetContract];
